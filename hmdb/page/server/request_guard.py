"""What may pass between visitors and Gradio.

Gradio takes any path within its folder for a file that the asker uploaded, fetches addresses that it is given, reads
bodies of any size, and tells where on the server its files are. So nothing reaches it unseen:

- Only the routes that the page needs are open.
- An upload gets a parcel of its own (`files.py`), and is deleted if it breaks off or is too large.
- A body is read up to a limit, and as JSON. Each file in it has to be an upload that the asker was told of, or an
  example, and goes on as such and nothing else.
- A visitor sees the names of files within the page's folder, never where that is.

That a visitor uploaded a file is shown by naming it: its name holds 192 random bits that nobody else was told.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, nullcontext
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from gradio.route_utils import API_PREFIX, get_root_url, upload_fn
from gradio.routes import file_upload_statuses
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hmdb.page.server.drain import DrainState
from hmdb.page.server.error_reporting import unexpected_error_message
from hmdb.page.server.file_store import (
    ANSWERS,
    UPLOADS,
    AddressQuotaError,
    FileStore,
    StorageFullError,
    StoredFolder,
    disk_usage,
)
from hmdb.page.server.metrics import REFUSED
from hmdb.page.settings import Settings
from hmdb.page.views.social_cards import ExampleLinks

log = logging.getLogger(__name__)

MAX_BODY = 2**20  # bytes, but for uploads and MCP
MAX_MCP_BODY = 16 * 2**20  # bytes: a video as text, in base64, which is held several times while it is read
MAX_TEXT = 4096  # characters of a text that a visitor sends
IDLE_SECONDS = 20  # between two pieces of a body
BODY_SECONDS = 300  # for all of a body

MCP = f"{API_PREFIX}/mcp"
UPLOAD = f"{API_PREFIX}/upload"
FILE = f"{API_PREFIX}/file="
ALLOWED_ROUTES = re.compile(
    r"/|/(config|theme\.css|robots\.txt|manifest\.json|favicon\.ico|pwa_icon(/\d+)?)/?|/(static|assets|svelte)/.*"
    rf"|{API_PREFIX}/(app_id|user|token|login_check|info|openapi\.json|startup-events|theme\.css|queue/(join|data|status)"
    r"|cancel|reset|upload|upload_progress|heartbeat/\w+|(run|api)/\w+|call(/v2)?/\w+(/\w+)?|stream/\w+(/close)?"
    r"|file=.+|mcp(/.*)?)/?"
)
WORK_ROUTES = re.compile(
    rf"{API_PREFIX}/(queue/(join|data)|call/|run/|upload$|mcp)"
)  # what a page that ends takes no more of
REWRITTEN_TYPES = ("application/json", "text/event-stream", "text/html", "text/plain")
UNREADABLE = b'{"detail":"This request is not of the form that is expected here."}'  # for lines that quote all of it

AS_TEXT = "A file has to be sent as text: data:video/mp4;base64,..."
MCP_DESCRIPTIONS = {  # of files, to clients of MCP: what is refused here, and what is said in its place
    b"Gradio File Input - a http or https url to a file": b"data:video/mp4;base64,...",
    b"If a user passes a file as an input, use the upload_file_to_gradio tool, if present, to upload the file to the "
    b"gradio app and create a Gradio File Input. Then use the returned path as the input to the tool": AS_TEXT.encode(),
}

UPLOAD_ID = re.compile(r"\w{1,64}")  # under which Gradio's script asks how far its upload is
FORGET_SECONDS = 10.0  # after which nobody asks any more
MAX_PATH = 1000  # characters


class RequestRejectedError(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class ResponseStartedSend:
    """`send`, and whether anything was sent."""

    def __init__(self, send: Send) -> None:
        self.begun = False
        self._send = send

    async def __call__(self, message: Message) -> None:
        self.begun = True
        await self._send(message)


class RequestGuardMiddleware:
    """ASGI middleware around Gradio."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        files: FileStore,
        settings: Settings,
        gate: DrainState,
        links: ExampleLinks,
        local_url: Callable[[], str],
    ) -> None:
        self.app = app
        self.files = files
        self.gate = gate
        self.links = links
        self.max_upload = settings.max_upload_mb * 2**20
        self.local_url = local_url
        self._root = f"{files.root}{os.sep}".encode()
        self._in_mcp = 0
        self._large = asyncio.Semaphore(2)  # messages of MCP in memory at a time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            answer = ResponseStartedSend(send)
            try:
                await self._pass(scope, receive, answer)
            except RequestRejectedError as error:
                REFUSED.labels(error.status).inc()
                await JSONResponse({"detail": str(error)}, error.status)(scope, receive, send)
            except ClientDisconnect:
                return
            except Exception as error:
                if answer.begun:
                    raise
                await JSONResponse({"detail": unexpected_error_message(error)}, 500)(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if not self.gate.open and WORK_ROUTES.match(path) and scope["method"] == "POST":
            raise RequestRejectedError(503, "The page is about to restart. Try again in a minute.")
        if not ALLOWED_ROUTES.fullmatch(path) or len(path) > MAX_PATH:
            raise RequestRejectedError(404, "There is nothing of that name here.")
        root = _root(scope)
        if path.startswith(FILE):
            await self.app(self._serve_file(scope, path.removeprefix(FILE)), receive, send)
        elif path.rstrip("/") == UPLOAD:
            await self._upload(Request(scope, _with_timeouts(receive)), send)
        elif path.startswith(MCP):
            await self._mcp(scope, receive, _rewrite_response(send, self._rewrite_urls(root)))
        elif path == "/":
            await self.app(scope, receive, _rewrite_response(send, self._index_page(root, Request(scope).url.query)))
        elif path.startswith(("/static/", "/assets/", "/svelte/")):
            await self.app(scope, receive, send)
        else:
            if scope["method"] in ("POST", "PUT", "PATCH", "DELETE"):
                receive = _replay(self._validated_body(await _read_body(receive, MAX_BODY)), receive)
            with self.gate.sending() if WORK_ROUTES.match(path) else nullcontext():
                await self.app(scope, receive, _rewrite_response(send, self._hide_root))

    def _serve_file(self, scope: Scope, name: str) -> Scope:
        path = self.files.find(name, UPLOADS, ANSWERS)
        if path is None:
            raise RequestRejectedError(404, "This file is not here, or not any more.")
        inside = f"{FILE}{path}"
        one_range = [(key, value) for key, value in scope["headers"] if key != b"range" or b"," not in value]
        return {**scope, "path": inside, "raw_path": quote(inside).encode(), "headers": one_range}

    async def _upload(self, request: Request, send: Send) -> None:
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.max_upload + MAX_BODY:
            raise RequestRejectedError(413, self._too_large())
        upload_id = request.query_params.get("upload_id", "")
        upload_id = upload_id if UPLOAD_ID.fullmatch(upload_id) else ""
        progress = file_upload_statuses if upload_id else None
        try:
            with self.files.parcel(UPLOADS, _client_address(request)) as parcel:
                counted = _limit_upload(request.receive, lambda count: self._take(parcel, count), self.max_upload)
                inner = Request(request.scope, counted)
                paths, _, _ = await upload_fn(
                    inner, parcel.path, self.max_upload, upload_id or None, upload_progress=progress
                )
                for path in parcel.path.iterdir():
                    if path.is_file():  # a part that is no file for Gradio
                        path.unlink()
                self._take(parcel, max(disk_usage(parcel.path) - parcel.size, 0))
        except MultiPartException as error:
            if "maximum allowed size" in error.message and not error.message.startswith("Headers"):
                raise RequestRejectedError(413, self._too_large()) from error
            raise RequestRejectedError(400, "This upload cannot be read.") from error
        except (HTTPException, TypeError) as error:  # no form, a name that is none, a part that is no file
            raise RequestRejectedError(400, "This upload cannot be read.") from error
        finally:
            if upload_id:
                file_upload_statuses.set_done(upload_id)
                asyncio.get_running_loop().call_later(FORGET_SECONDS, file_upload_statuses.stop_tracking, upload_id)
        names = [path.removeprefix(self._root.decode()) for path in paths]
        await JSONResponse(names)(request.scope, request.receive, send)

    def _take(self, parcel: StoredFolder, count: int) -> None:
        try:
            self.files.receive(parcel, count)
        except AddressQuotaError as error:
            raise RequestRejectedError(429, str(error)) from error
        except StorageFullError as error:
            raise RequestRejectedError(507, str(error)) from error

    def _too_large(self) -> str:
        return f"Files may be at most {self.max_upload // 2**20} MB here. Try a shorter or smaller one."

    async def _mcp(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        length = request.headers.get("content-length", "")
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif length.isdecimal() and int(length) <= MAX_BODY:
            await self._forward_mcp(await _read_body(receive, MAX_BODY), scope, receive, send)
        else:  # on the disk until its turn comes, where slow ones take no memory and hold nobody up
            async with AsyncExitStack() as turn:
                with self.files.passing(_client_address(request)) as parcel:
                    path = parcel.path / "message"
                    with path.open("wb") as file:
                        async for piece in _iter_body(receive, MAX_MCP_BODY):
                            self._take(parcel, len(piece))
                            file.write(piece)
                    await turn.enter_async_context(self._large)
                    body = path.read_bytes()
                await self._forward_mcp(body, scope, receive, send)

    async def _forward_mcp(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        message = _parse_json(body)
        with _not_too_deep():
            said = _reject_reason(message)
        if said:
            await _tool_error(message, said)(scope, receive, send)
            return
        self._in_mcp += 1
        try:
            await self.app(scope, _replay(body, receive), send)
        finally:
            self._in_mcp -= 1
            if not self._in_mcp:
                self.files.delete_untracked()

    def _index_page(self, root: str, query: str) -> Callable[[bytes], bytes]:
        """The page itself, with what other sites show of it."""
        return lambda text: self.links.tagged(self._hide_root(text), root, query)

    def _rewrite_urls(self, root: str) -> Callable[[bytes], bytes]:
        """MCP asks the page as a client on this machine does, and would tell the addresses that it sees."""
        inside = self.local_url().rstrip("/").encode()
        told = {**MCP_DESCRIPTIONS, inside: root.encode()} if inside else MCP_DESCRIPTIONS

        def rewrite(text: bytes) -> bytes:
            for words, ours in told.items():
                text = text.replace(words, ours)
            return self._hide_root(text)

        return rewrite

    def _hide_root(self, text: bytes) -> bytes:
        return text.replace(self._root, b"")

    def _validated_body(self, body: bytes) -> bytes:
        if not body:
            return body
        message = _parse_json(body)
        with _not_too_deep():
            if isinstance(message, dict) and "event_data" in message:  # what was clicked: no file in it is ever read
                message["event_data"] = _drop_files(message["event_data"])
            return orjson.dumps(self._validate_files(message))

    def _validate_files(self, value: Any) -> Any:
        """The value, with each file in it checked, and reduced to what names it."""
        if isinstance(value, list):
            return [self._validate_files(each) for each in value]
        if not isinstance(value, dict):
            if isinstance(value, str) and len(value) > MAX_TEXT:
                raise RequestRejectedError(400, _too_long_message(value))
            return value
        if value.get("path") is None and str(value.get("url")).startswith("data:image/jpeg;base64,"):
            return {"path": None, "url": value["url"], "meta": {"_type": "gradio.FileData"}}  # of a camera
        if "path" not in value:
            return {key: self._validate_files(each) for key, each in value.items()}
        path = self.files.find(value["path"], UPLOADS) if isinstance(value["path"], str) else None
        if path is None:
            raise RequestRejectedError(400, "This video is not here, or not any more. Upload it again.")
        return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def _parse_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRejectedError(400, "This is not JSON.") from error


@contextmanager
def _not_too_deep() -> Iterator[None]:
    """
    Raises:
        RefusedError: JSON is nested deeper than what is done with it here can go.
    """
    try:
        yield
    except (RecursionError, orjson.JSONEncodeError) as error:
        raise RequestRejectedError(400, "This JSON goes too deep.") from error


def _drop_files(value: Any) -> Any:
    if isinstance(value, list):
        return [_drop_files(each) for each in value]
    if isinstance(value, dict):
        return None if "path" in value else {key: _drop_files(each) for key, each in value.items()}
    return value


def _reject_reason(message: Any) -> str | None:
    """What is wrong with the values that a tool is asked with."""
    for each in _walk(message):
        if isinstance(each, dict) and ("path" in each or not str(each.get("video", "data:")).startswith("data:")):
            return AS_TEXT
        if isinstance(each, str) and len(each) > MAX_TEXT and not each.startswith("data:"):
            return _too_long_message(each)
    return None


def _tool_error(message: Any, said: str) -> JSONResponse:
    """A line in place of what a tool of MCP would answer."""
    asked = message.get("id") if isinstance(message, dict) else None
    result = {"content": [{"type": "text", "text": said}], "isError": True}
    return JSONResponse({"jsonrpc": "2.0", "id": asked, "result": result})


def _too_long_message(text: str) -> str:
    return f"A text of {len(text)} characters is too long; {MAX_TEXT} are the most."


def _walk(value: Any) -> Iterator[Any]:
    yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(each)


def _root(scope: Scope) -> str:
    """The page's address as the asker sees it.

    Raises:
        RefusedError: the headers that tell it make none, which Gradio would stumble over on most routes.
    """
    try:
        return get_root_url(Request({**scope, "path": "/", "query_string": b""}), "/", None)
    except httpx.InvalidURL as error:
        raise RequestRejectedError(400, "The headers of this request name no address of this page.") from error


def _client_address(request: Request) -> str:
    """Whose a request is; "" where that is not known."""
    return request.client.host if request.client else ""


async def _read_body(receive: Receive, limit: int) -> bytes:
    """All of a body; see `_pieces`."""
    body = bytearray()
    async for piece in _iter_body(receive, limit):
        body += piece
    return bytes(body)


async def _iter_body(receive: Receive, limit: int) -> AsyncIterator[bytes]:
    """A body as it comes.

    Raises:
        RefusedError: it is too large or too slow.
        ClientDisconnect: it breaks off.
    """
    total, receive = 0, _with_timeouts(receive)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        total += len(piece)
        if total > limit:
            told = f"A request may be at most {limit // 2**20} MB. Upload files, do not send them within one."
            raise RequestRejectedError(413, told)
        yield piece
        if not message.get("more_body"):
            return


def _with_timeouts(receive: Receive) -> Receive:
    """`receive`, for a body that has to go on and come to its end."""
    end = asyncio.get_running_loop().time() + BODY_SECONDS

    async def next_piece() -> Message:
        left = end - asyncio.get_running_loop().time()
        try:
            return await asyncio.wait_for(receive(), max(min(IDLE_SECONDS, left), 0))
        except TimeoutError as error:
            raise RequestRejectedError(408, "This request takes too long to arrive.") from error

    return next_piece


def _limit_upload(receive: Receive, take: Callable[[int], None], limit: int) -> Receive:
    """`receive`, for an upload within a limit whose bytes are taken account of as they come."""
    total = 0

    async def next_piece() -> Message:
        nonlocal total
        message = await receive()
        count = len(message.get("body", b""))
        total += count
        if total > limit + MAX_BODY:
            raise MultiPartException("The request is larger than the maximum allowed size.")
        take(count)
        return message

    return next_piece


def _replay(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, then whatever `receive` has to tell."""
    told = False

    async def next_piece() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_piece


def _rewrite_response(send: Send, rewrite: Callable[[bytes], bytes]) -> Send:
    """`send`, with the texts of an answer rewritten: events one by one, all else as a whole."""
    start: Message = {}
    events = False
    whole = bytearray()

    async def next_piece(message: Message) -> None:
        nonlocal start, events
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type", b"").decode("latin-1")
            start, events = message, kind.startswith("text/event-stream")
            if events or not kind.startswith(REWRITTEN_TYPES):
                await send(message)
                if not events:
                    start = {}
        elif message["type"] != "http.response.body" or not start:
            await send(message)
        elif events:
            await send({**message, "body": rewrite(message.get("body", b""))})
        else:
            whole.extend(message.get("body", b""))
            if not message.get("more_body"):
                body = UNREADABLE if start["status"] == 422 else rewrite(bytes(whole))
                headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
                await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
                await send({"type": "http.response.body", "body": body})

    return next_piece
