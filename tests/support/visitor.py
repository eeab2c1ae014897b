"""A client of the page without a browser, free to send anything."""

from __future__ import annotations

import json
import secrets
from functools import partial
from typing import Any

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.support.waiting import LIMIT_SECONDS


class Http:
    """httpx with a limit that only ends a hang; a busy machine exceeds httpx's own, 5 s."""

    get = staticmethod(partial(httpx.get, timeout=LIMIT_SECONDS))
    post = staticmethod(partial(httpx.post, timeout=LIMIT_SECONDS))
    request = staticmethod(partial(httpx.request, timeout=LIMIT_SECONDS))


http = Http()


class Visitor:
    """Calls the page as Gradio's API clients and its own script do."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=f"{url}gradio_api/", timeout=LIMIT_SECONDS)
        self.session = secrets.token_hex(6)

    def upload(self, content: bytes, name: str = "clip.mp4") -> str:
        """Uploads a file; returns its name in the store."""
        answer = self.http.post("upload", files={"files": (name, content)})
        assert answer.status_code == 200, answer.text
        (known,) = answer.json()
        return str(known)

    def ask(self, api_name: str, *data: Any) -> tuple[bool, Any]:
        """Calls an API endpoint; returns True with its output, or False with the error."""
        joined = self.http.post(f"call/{api_name}", json={"data": data})
        if joined.status_code != 200:
            return False, joined.text
        event = joined.json()["event_id"]
        text = self.http.get(f"call/{api_name}/{event}").text
        kind, _, rest = text.rstrip().rpartition("event: ")[2].partition("\ndata: ")
        return kind == "complete", json.loads(rest)

    def join(self, fn_index: int, data: list[Any], clicked: Any = None) -> httpx.Response:
        """Queues an event as the page's script does, also of functions outside of the API."""
        body = {"data": data, "fn_index": fn_index, "event_data": clicked, "session_hash": self.session}
        return self.http.post("queue/join", json=body)

    def run_event(self, fn_index: int, data: list[Any], clicked: Any = None) -> dict[str, Any]:
        """Runs an event; returns its process_completed message. A stream is closed after its first output."""
        self.session = secrets.token_hex(6)
        event = self.join(fn_index, data, clicked).json()["event_id"]
        with self.http.stream("GET", "queue/data", params={"session_hash": self.session}) as lines:
            for line in lines.iter_lines():
                said: dict[str, Any] = json.loads(line.removeprefix("data: ")) if line else {}
                if said.get("msg") == "process_streaming":
                    self.http.post(f"stream/{event}/close")
                if said.get("msg") == "process_completed":
                    return said
        raise AssertionError("the event did not complete")

    def get(self, name: str) -> httpx.Response:
        return self.http.get(f"file={name}")


def file(path: str, **more: Any) -> dict[str, Any]:
    """The JSON of a file in a request."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def file_names(answer: Any) -> list[str]:
    """The names of all files in an output."""
    if isinstance(answer, list):
        return [name for each in answer for name in file_names(each)]
    if isinstance(answer, dict):
        own = [answer["path"]] if isinstance(answer.get("path"), str) else []
        return own + [name for each in answer.values() for name in file_names(each)]
    return []


async def call_tool(url: str, name: str, arguments: dict[str, Any]) -> Any:
    """Calls a tool of the page's MCP server."""
    async with (
        streamable_http_client(f"{url}gradio_api/mcp/") as (reading, writing, _),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        return await session.call_tool(name, arguments)
