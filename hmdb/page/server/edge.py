"""The server around the page: slow connections are cut, and what watches the page is answered whatever else goes on."""

from __future__ import annotations

import asyncio
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

import h11
from gradio.blocks import Blocks
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from hmdb.page.server.metrics import DISK, PENDING, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hmdb.page.settings import Settings

READ_SECONDS = 30.0  # in which a visitor has to take something of an answer
HEADER_SECONDS = 10.0  # in which the head of a request has to arrive
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; "
    "frame-ancestors 'self' https://huggingface.co https://*.huggingface.co https://*.hf.space"
)


class TimeoutH11Protocol(H11Protocol):
    """A connection whose requests have to arrive, and whose answers have to be taken."""

    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_head()
        else:
            self._stop_waiting()
            if self.cycle and self.cycle.response_complete and self.conn.their_state is h11.SEND_BODY:
                self.transport.close()  # a body that nobody asked for

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def _taken(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _expect_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEADER_SECONDS, self._cut)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _cut(self) -> None:
        self._late = None
        if self.conn.their_state is h11.IDLE:
            self.transport.abort()


class EdgeMiddleware:
    """ASGI middleware around everything.

    Args:
        health: what /health says.
        under_way, disk_bytes: for /metrics.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        *,
        health: Callable[[], dict[str, Any]],
        under_way: Callable[[], int],
        disk_bytes: Callable[[], int],
    ) -> None:
        self.app = app
        self._settings = settings
        self._health, self._under_way, self._disk_bytes = health, under_way, disk_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = {**scope, "client": self._client_address(scope), "headers": self._trusted_headers(scope["headers"])}
        send = _add_security_headers(send)
        match scope["path"]:
            case "/health":
                state = self._health()
                status = 503 if state["state"] in ("failed", "not answering") else 200
                await JSONResponse(state, status)(scope, receive, send)
            case "/metrics" if self._settings.metrics:
                report()
                PENDING.set(self._under_way())
                DISK.set(self._disk_bytes())
                await Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)(scope, receive, send)
            case _:
                await self.app(scope, receive, send)

    def _trusted_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Without addresses that no proxy of ours has passed on: uvicorn takes them from whoever is on this machine,
        and there MCP asks on behalf of its clients, in their words.
        """
        return [(name, value) for name, value in headers if self._settings.proxies or name != b"x-forwarded-for"]

    def _client_address(self, scope: Scope) -> tuple[str, int] | None:
        """Whose request it is, as the outermost proxy that is one of ours saw it."""
        passed = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
        if self._settings.proxies and len(passed) >= self._settings.proxies and passed[-self._settings.proxies].strip():
            return counted_as(passed[-self._settings.proxies].strip()), 0
        client: tuple[str, int] | None = scope["client"]
        return client and (counted_as(client[0]), client[1])


def counted_as(address: str) -> str:
    """The host or network that the limits count an address as: IPv4 as it is, IPv6 as its /64, which one host has.

    Args:
        address: may have the port that some proxies append; text that is no address stays, cut to 64 characters.
    """
    if address.startswith("["):
        host = address[1:].partition("]")[0]
    else:
        host = address.partition(":")[0] if address.count(":") == 1 else address
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return address[:64]
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or ip_network((found, 64), strict=False))


def _add_security_headers(send: Send) -> Send:
    async def next_piece(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["x-content-type-options"] = "nosniff"
            headers["content-security-policy"] = CONTENT_POLICY
            headers["referrer-policy"] = "same-origin"
            del headers["access-control-allow-credentials"]  # there are no cookies that could be meant
        await send(message)

    return next_piece


def wrap_running_server(demo: Blocks, around: Callable[[ASGIApp], ASGIApp], shutdown_seconds: int) -> None:
    """Has Gradio's server, which is up, treat all further connections so."""
    config = demo.server.config
    config.http_protocol_class = TimeoutH11Protocol
    config.timeout_graceful_shutdown = shutdown_seconds
    config.loaded_app = around(config.loaded_app)
