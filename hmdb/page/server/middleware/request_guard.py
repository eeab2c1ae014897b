"""The guard of Gradio's routes: every request to Gradio and every response from it passes through here."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from urllib.parse import quote

import httpx
from gradio.route_utils import API_PREFIX, get_root_url
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hmdb.page.server.bodies import MAX_BODY, RequestRejectedError, read_body, replay, rewrite_response
from hmdb.page.server.drain import DrainState
from hmdb.page.server.error_reporting import unexpected_error_message
from hmdb.page.server.file_references import FileReferences
from hmdb.page.server.file_store import ANSWERS, UPLOADS, FileStore
from hmdb.page.server.mcp import MCP, McpEndpoint
from hmdb.page.server.metrics import REFUSED
from hmdb.page.server.uploads import UPLOAD, UploadEndpoint

FILE = f"{API_PREFIX}/file="
MAX_PATH = 1000  # characters
ALLOWED_ROUTES = re.compile(
    r"/|/(config|theme\.css|robots\.txt|manifest\.json|favicon\.ico|pwa_icon(/\d+)?)/?|/(static|assets|svelte)/.*"
    rf"|{API_PREFIX}/(app_id|user|token|login_check|info|openapi\.json|startup-events|theme\.css|queue/(join|data|status)"
    r"|cancel|reset|upload|upload_progress|heartbeat/\w+|(run|api)/\w+|call(/v2)?/\w+(/\w+)?|stream/\w+(/close)?"
    r"|file=.+|mcp(/.*)?)/?"
)
WORK_ROUTES = re.compile(rf"{API_PREFIX}/(queue/(join|data)|call/|run/|upload$|mcp)")  # closed while the page drains


class RequestGuardMiddleware:
    """Keeps from Gradio what it would trust: unneeded routes, paths, URLs (SSRF) and bodies without limits.

    - Only the routes that the page needs are open.
    - Bodies are read as JSON within limits on size, time and nesting (`bodies.py`).
    - A file in a request must be an upload of its client or an example (`file_references.py`).
    - Uploads and MCP messages have endpoints of their own (`uploads.py`, `mcp.py`).
    - Responses do not reveal paths of this machine, and an unexpected error is one plain line.

    Args:
        drain: rejects new work while the page shuts down.
        max_upload_bytes: of one upload.
        rewrite_index: changes the HTML of the page, given it, the page's address and the query string.
        local_url: returns the page's address on this machine; "" before it is up.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        files: FileStore,
        drain: DrainState,
        max_upload_bytes: int,
        rewrite_index: Callable[[bytes, str, str], bytes],
        local_url: Callable[[], str],
    ) -> None:
        self.app = app
        self._files, self._drain, self._rewrite_index = files, drain, rewrite_index
        self._references = FileReferences(files)
        self._upload = UploadEndpoint(files, max_upload_bytes)
        self._mcp = McpEndpoint(app, files, self._references, local_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            response = ResponseStartedSend(send)
            try:
                await self._dispatch(scope, receive, response)
            except RequestRejectedError as error:
                REFUSED.labels(error.status).inc()
                await JSONResponse({"detail": str(error)}, error.status)(scope, receive, send)
            except ClientDisconnect:
                return
            except Exception as error:
                if response.started:
                    raise
                await JSONResponse({"detail": unexpected_error_message(error)}, 500)(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if not self._drain.accepts_work and WORK_ROUTES.match(path) and scope["method"] == "POST":
            raise RequestRejectedError(503, "The page is about to restart. Try again in a minute.")
        if not ALLOWED_ROUTES.fullmatch(path) or len(path) > MAX_PATH:
            raise RequestRejectedError(404, "Not found.")
        root_url = _root_url(scope)
        if path.startswith(FILE):
            await self.app(self._stored_file(scope, path.removeprefix(FILE)), receive, send)
        elif path.rstrip("/") == UPLOAD:
            await self._upload(scope, receive, send)
        elif path.startswith(MCP):
            await self._mcp(scope, receive, send, root_url)
        elif path == "/":
            await self.app(scope, receive, rewrite_response(send, self._index_page(root_url, Request(scope).url.query)))
        elif path.startswith(("/static/", "/assets/", "/svelte/")):
            await self.app(scope, receive, send)
        else:
            if scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
                receive = replay(self._references.validate(await read_body(receive, MAX_BODY)), receive)
            with self._drain.track_request() if WORK_ROUTES.match(path) else nullcontext():
                await self.app(scope, receive, rewrite_response(send, self._references.strip_root))

    def _stored_file(self, scope: Scope, name: str) -> Scope:
        """The request for a file by its name in the store, as Gradio expects it: by its path."""
        path = self._files.resolve(name, UPLOADS, ANSWERS)
        if path is None:
            raise RequestRejectedError(404, "This file does not exist or has expired.")
        route = f"{FILE}{path}"
        headers = [(key, value) for key, value in scope["headers"] if key != b"range" or b"," not in value]
        return {**scope, "path": route, "raw_path": quote(route).encode(), "headers": headers}

    def _index_page(self, root_url: str, query: str) -> Callable[[bytes], bytes]:
        return lambda html: self._rewrite_index(self._references.strip_root(html), root_url, query)


class ResponseStartedSend:
    """`send`, which remembers that a response has started.

    Attributes:
        started: a message was sent.
    """

    def __init__(self, send: Send) -> None:
        self.started = False
        self._send = send

    async def __call__(self, message: Message) -> None:
        self.started = True
        await self._send(message)


def _root_url(scope: Scope) -> str:
    """The page's address as the client sees it.

    Raises:
        RequestRejectedError: its headers make no address; most of Gradio's routes would fail.
    """
    try:
        return get_root_url(Request({**scope, "path": "/", "query_string": b""}), "/", None)
    except httpx.InvalidURL as error:
        raise RequestRejectedError(400, "The headers of this request contain an invalid host.") from error
