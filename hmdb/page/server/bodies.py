"""Limits on the size, time and nesting of request bodies, and rewriting of response bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Send

MAX_BODY = 2**20  # bytes of a JSON body, and of all that a form adds to an uploaded file
MAX_TEXT = 4096  # characters of one string in a body
IDLE_TIMEOUT_SECONDS = 20  # between two chunks of a body
BODY_TIMEOUT_SECONDS = 300  # for a whole body
REWRITTEN_TYPES = ("application/json", "text/event-stream", "text/html", "text/plain")
INVALID_REQUEST = b'{"detail":"This request has an unexpected form."}'


class RequestRejectedError(Exception):
    """A request that does not reach Gradio.

    Attributes:
        status: the HTTP status that it is answered with.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body; raises as `iter_body` does."""
    body = bytearray()
    async for chunk in iter_body(receive, limit):
        body += chunk
    return bytes(body)


async def iter_body(receive: Receive, limit: int) -> AsyncIterator[bytes]:
    """Yields the chunks of a body.

    Args:
        limit: bytes.

    Raises:
        RequestRejectedError: the body is too large or too slow.
        ClientDisconnect: the client disconnected.
    """
    total, receive = 0, with_timeouts(receive)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        total += len(chunk)
        if total > limit:
            detail = f"A request may be at most {limit // 2**20} MB. Upload files instead of sending them in it."
            raise RequestRejectedError(413, detail)
        yield chunk
        if not message.get("more_body"):
            return


def with_timeouts(receive: Receive) -> Receive:
    """`receive`, which raises RequestRejectedError when a body stalls or takes too long."""
    deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT_SECONDS

    async def receive_in_time() -> Message:
        remaining = deadline - asyncio.get_running_loop().time()
        try:
            return await asyncio.wait_for(receive(), max(min(IDLE_TIMEOUT_SECONDS, remaining), 0))
        except TimeoutError as error:
            raise RequestRejectedError(408, "This request took too long to arrive.") from error

    return receive_in_time


def replay(body: bytes, receive: Receive) -> Receive:
    """A receive function that delivers a body that was read before, then goes on with `receive`."""
    delivered = False

    async def receive_again() -> Message:
        nonlocal delivered
        if delivered:
            return await receive()
        delivered = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def parse_json(body: bytes) -> Any:
    """
    Raises:
        RequestRejectedError: the body is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRejectedError(400, "The body is not valid JSON.") from error


@contextmanager
def reject_deep_json() -> Iterator[None]:
    """
    Raises:
        RequestRejectedError: the code within recursed too deep, or orjson did.
    """
    try:
        yield
    except (RecursionError, orjson.JSONEncodeError) as error:
        raise RequestRejectedError(400, "This JSON is nested too deeply.") from error


def long_text_message(text: str) -> str:
    return f"A text of {len(text)} characters is too long; the limit is {MAX_TEXT}."


def rewrite_response(send: Send, rewrite: Callable[[bytes], bytes]) -> Send:
    """`send`, with text bodies rewritten: event streams chunk by chunk, other texts as a whole.

    A response of status 422 has its body replaced, as FastAPI's quotes the whole request.
    """
    start: Message = {}
    is_stream = False
    whole = bytearray()

    async def send_rewritten(message: Message) -> None:
        nonlocal start, is_stream
        if message["type"] == "http.response.start":
            content_type = dict(message["headers"]).get(b"content-type", b"").decode("latin-1")
            start, is_stream = message, content_type.startswith("text/event-stream")
            if is_stream or not content_type.startswith(REWRITTEN_TYPES):
                await send(message)
                if not is_stream:
                    start = {}
        elif message["type"] != "http.response.body" or not start:
            await send(message)
        elif is_stream:
            await send({**message, "body": rewrite(message.get("body", b""))})
        else:
            whole.extend(message.get("body", b""))
            if not message.get("more_body"):
                body = INVALID_REQUEST if start["status"] == 422 else rewrite(bytes(whole))
                headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
                await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
                await send({"type": "http.response.body", "body": body})

    return send_rewritten
