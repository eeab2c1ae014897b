"""A visitor who speaks to the page without a browser, and need not be polite."""

from __future__ import annotations

import json
import secrets
from typing import Any

import httpx


class Visitor:
    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=f"{url}gradio_api/", timeout=60)
        self.session = secrets.token_hex(6)

    def upload(self, content: bytes, name: str = "clip.mp4") -> str:
        """The name by which the page knows the file."""
        answer = self.http.post("upload", files={"files": (name, content)})
        assert answer.status_code == 200, answer.text
        (known,) = answer.json()
        return str(known)

    def ask(self, api_name: str, *data: Any) -> tuple[bool, Any]:
        """Whether there was an answer, and it; or what was said instead."""
        joined = self.http.post(f"call/{api_name}", json={"data": data})
        if joined.status_code != 200:
            return False, joined.text
        event = joined.json()["event_id"]
        text = self.http.get(f"call/{api_name}/{event}").text
        kind, _, rest = text.rstrip().rpartition("event: ")[2].partition("\ndata: ")
        return kind == "complete", json.loads(rest)

    def join(self, fn_index: int, data: list[Any], clicked: Any = None) -> httpx.Response:
        """Asks as the page's own script does, for endpoints that are not in the API too."""
        body = {"data": data, "fn_index": fn_index, "event_data": clicked, "session_hash": self.session}
        return self.http.post("queue/join", json=body)

    def end_of(self, fn_index: int, data: list[Any], clicked: Any = None) -> dict[str, Any]:
        """What the page's own script is told last. A stream ends with its first answer."""
        self.session = secrets.token_hex(6)
        event = self.join(fn_index, data, clicked).json()["event_id"]
        with self.http.stream("GET", "queue/data", params={"session_hash": self.session}) as lines:
            for line in lines.iter_lines():
                said: dict[str, Any] = json.loads(line.removeprefix("data: ")) if line else {}
                if said.get("msg") == "process_streaming":
                    self.http.post(f"stream/{event}/close")
                if said.get("msg") == "process_completed":
                    return said
        raise AssertionError("this never ended")

    def get(self, name: str) -> httpx.Response:
        return self.http.get(f"file={name}")


def file(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def named(answer: Any) -> list[str]:
    """The names of all files in an answer."""
    if isinstance(answer, list):
        return [name for each in answer for name in named(each)]
    if isinstance(answer, dict):
        own = [answer["path"]] if isinstance(answer.get("path"), str) else []
        return own + [name for each in answer.values() for name in named(each)]
    return []
