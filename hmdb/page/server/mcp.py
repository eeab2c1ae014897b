"""Messages of MCP (Model Context Protocol): files come within them as data URLs, never as paths or addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

from gradio.route_utils import API_PREFIX
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hmdb.page.server.bodies import (
    MAX_BODY,
    MAX_TEXT,
    iter_body,
    long_text_message,
    parse_json,
    read_body,
    reject_deep_json,
    replay,
    rewrite_response,
)
from hmdb.page.server.file_references import FileReferences
from hmdb.page.server.file_store import FileStore
from hmdb.page.server.session import request_address
from hmdb.page.server.uploads import reserve_upload

MCP = f"{API_PREFIX}/mcp"
MAX_MCP_BODY = 16 * 2**20  # bytes: a video in base64, of which parsing makes several copies
MAX_LARGE_MESSAGES = 2  # in memory at a time
FILE_AS_DATA_URL = "Send the file as a data URL: data:video/mp4;base64,..."
MCP_DESCRIPTIONS = {  # Gradio's descriptions of file parameters, which suggest what is rejected here, and ours
    b"Gradio File Input - a http or https url to a file": b"data:video/mp4;base64,...",
    b"If a user passes a file as an input, use the upload_file_to_gradio tool, if present, to upload the file to the "
    b"gradio app and create a Gradio File Input. Then use the returned path as the input to the tool": (
        FILE_AS_DATA_URL.encode()
    ),
}


class McpEndpoint:
    """Checks MCP messages before Gradio's MCP server gets them, and rewrites its answers.

    Gradio's MCP server would read any path and fetch any URL that a message names (SSRF), and calls the page at its
    local address, which its answers would reveal.

    Args:
        local_url: returns the page's address on this machine; "" before it is up.
    """

    def __init__(
        self, app: ASGIApp, files: FileStore, references: FileReferences, local_url: Callable[[], str]
    ) -> None:
        self.app = app
        self._files, self._references, self._local_url = files, references, local_url
        self._num_messages = 0
        self._large_messages = asyncio.Semaphore(MAX_LARGE_MESSAGES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, root_url: str) -> None:
        """
        Args:
            root_url: the page's address as the client sees it.

        Raises:
            RequestRejectedError: the message is too large, too slow, too deep or not JSON.
        """
        request = Request(scope)
        send = rewrite_response(send, self._rewrite_urls(root_url))
        length = request.headers.get("content-length", "")
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
        elif length.isdecimal() and int(length) <= MAX_BODY:
            await self._forward(await read_body(receive, MAX_BODY), scope, receive, send)
        else:  # received on the disk, so that slow large messages neither take memory nor block others
            async with AsyncExitStack() as stack:
                with self._files.temporary_folder(request_address(request)) as folder:
                    path = folder.path / "message"
                    with path.open("wb") as file:
                        async for chunk in iter_body(receive, MAX_MCP_BODY):
                            reserve_upload(self._files, folder, len(chunk))
                            file.write(chunk)
                    await stack.enter_async_context(self._large_messages)
                    body = path.read_bytes()
                await self._forward(body, scope, receive, send)

    async def _forward(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        message = parse_json(body)
        with reject_deep_json():
            reason = _reject_reason(message)
        if reason:
            await _tool_error(message, reason)(scope, receive, send)
            return
        self._num_messages += 1
        try:
            await self.app(scope, replay(body, receive), send)
        finally:
            self._num_messages -= 1
            if not self._num_messages:
                self._files.delete_untracked()

    def _rewrite_urls(self, root_url: str) -> Callable[[bytes], bytes]:
        """A function that puts the page's public address and our descriptions into Gradio's answers."""
        local = self._local_url().rstrip("/").encode()
        replacements = {**MCP_DESCRIPTIONS, local: root_url.encode()} if local else MCP_DESCRIPTIONS

        def rewrite(text: bytes) -> bytes:
            for old, new in replacements.items():
                text = text.replace(old, new)
            return self._references.strip_root(text)

        return rewrite


def _reject_reason(message: Any) -> str | None:
    """The reason to reject the arguments of a tool; None if they are acceptable."""
    for value in _walk(message):
        if isinstance(value, dict) and ("path" in value or not str(value.get("video", "data:")).startswith("data:")):
            return FILE_AS_DATA_URL
        if isinstance(value, str) and len(value) > MAX_TEXT and not value.startswith("data:"):
            return long_text_message(value)
    return None


def _walk(value: Any) -> Iterator[Any]:
    yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(item)


def _tool_error(message: Any, text: str) -> JSONResponse:
    """An MCP tool result that is an error."""
    request_id = message.get("id") if isinstance(message, dict) else None
    result = {"content": [{"type": "text", "text": text}], "isError": True}
    return JSONResponse({"jsonrpc": "2.0", "id": request_id, "result": result})
