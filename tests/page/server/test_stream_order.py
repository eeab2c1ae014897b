"""The end of one stream of answers and the beginning of the next."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from hmdb.page.server.middleware import stream_order
from hmdb.page.server.middleware.stream_order import END, JOIN, STREAM, StreamOrderMiddleware

BROWSER = [(b"origin", b"http://127.0.0.1")]


async def gradio(scope: Scope, receive: Receive, send: Send) -> None:
    body = b"data: {" + END + b"}" if scope["path"] == STREAM else (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("session", "headers", "waits"), [("a", BROWSER, True), ("b", BROWSER, False), ("a", [], False)]
)
def test_a_browsers_event_is_confirmed_after_the_end_of_the_last_stream(
    monkeypatch: pytest.MonkeyPatch, session: str, headers: list[Any], waits: bool
) -> None:
    monkeypatch.setattr(stream_order, "SETTLE_SECONDS", 0)
    app = StreamOrderMiddleware(gradio)
    order: list[str] = []
    event = {"type": "http.request", "body": json.dumps({"session_hash": session}).encode(), "more_body": False}

    async def receive() -> Message:
        return event

    async def visit() -> None:
        sending, arrived = asyncio.Event(), asyncio.Event()

        async def send_late(message: Message) -> None:
            if END in message.get("body", b""):
                sending.set()
                await arrived.wait()
                order.append("end")

        async def confirm(message: Message) -> None:
            if message["type"] == "http.response.body":
                assert message["body"] == event["body"]
                order.append("confirmed")

        request = {"type": "http", "path": STREAM, "query_string": b"session_hash=a", "headers": []}
        stream = asyncio.create_task(app(request, receive, send_late))
        await sending.wait()
        join = asyncio.create_task(app({**request, "path": JOIN, "headers": headers}, receive, confirm))
        for _ in range(10):
            await asyncio.sleep(0)
        arrived.set()
        await asyncio.gather(stream, join)
        await app({**request, "path": JOIN, "headers": headers}, receive, confirm)  # nothing is left to wait for

    asyncio.run(visit())
    assert order == (["end", "confirmed", "confirmed"] if waits else ["confirmed", "end", "confirmed"])
