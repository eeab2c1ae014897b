"""The order of two messages that would lose an answer if they crossed."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from gradio.route_utils import API_PREFIX
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hmdb.page.server.bodies import parse_json, replay

STREAM, JOIN = f"{API_PREFIX}/queue/data", f"{API_PREFIX}/queue/join"
END = b'"msg":"close_stream"'
SETTLE_SECONDS = 0.25  # for the end of a stream to reach a browser, by a busy machine's clock


class StreamOrderMiddleware:
    """Confirms a browser's new event only after the end of its session's last stream has reached it.

    Gradio ends a session's stream of answers when none is pending, and the page opens another for a new event unless it
    believes the last one open. If that end and the confirmation of an event cross, nobody opens one, and the answer
    never comes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._ending: dict[str, asyncio.Event] = {}  # by session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").rstrip("/")
        if path == STREAM:
            session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
            await self.app(scope, receive, self._noting_end(send, session))
        elif path == JOIN and any(name == b"origin" for name, _ in scope["headers"]):  # as browsers send, no library
            body = (await receive())["body"]  # all of it: the request guard has read it
            await self.app(scope, replay(body, receive), self._after_end(send, _session(body)))
        else:
            await self.app(scope, receive, send)

    def _noting_end(self, send: Send, session: str) -> Send:
        async def send_stream(message: Message) -> None:
            if END not in message.get("body", b""):
                await send(message)
                return
            ended = self._ending[session] = asyncio.Event()
            try:
                await send(message)
            finally:
                asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._settle, session, ended)

        return send_stream

    def _settle(self, session: str, ended: asyncio.Event) -> None:
        ended.set()
        if self._ending.get(session) is ended:
            del self._ending[session]

    def _after_end(self, send: Send, session: str) -> Send:
        async def send_confirmation(message: Message) -> None:
            if message["type"] == "http.response.start" and (ended := self._ending.get(session)):
                await ended.wait()
            await send(message)

        return send_confirmation


def _session(body: bytes) -> str:
    event = parse_json(body)
    return str(event.get("session_hash", "")) if isinstance(event, dict) else ""
