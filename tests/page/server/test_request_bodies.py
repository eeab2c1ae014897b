"""Limits on the bodies of requests: size, time, nesting, JSON."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from hmdb.page.launch import PageServer
from hmdb.page.server import bodies
from tests.support.visitor import http


@pytest.mark.parametrize("route", ["queue/join", "call/predict", "run/predict", "cancel", "reset", "call/v2/predict"])
def test_large_bodies_are_rejected(page: PageServer, route: str) -> None:
    for body in (json.dumps({"data": ["x" * 2**21]}), "[" * 2**21):
        answer = http.post(f"{page.url}gradio_api/{route}", content=body)
        assert (answer.status_code, answer.json()["detail"]) == (
            413,
            "A request may be at most 1 MB. Upload files instead of sending them in it.",
        )


def test_large_chunked_bodies_are_rejected_early(page: PageServer) -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        while sent < 2**26:
            sent += 2**16
            yield b" " * 2**16

    with pytest.raises(httpx.HTTPError):
        http.post(f"{page.url}gradio_api/queue/join", content=pieces()).raise_for_status()
    assert sent < 2**24


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no", "The body is not valid JSON."),
        (b"[" * 10_000, "The body is not valid JSON."),
        (b'{"data": [null, "x", NaN]}', "The body is not valid JSON."),
        (b'{"data": ["\\ud800"]}', "The body is not valid JSON."),
        (
            json.dumps({"data": [None, "x" * 5000]}).encode(),
            "A text of 5000 characters is too long; the limit is 4096.",
        ),
    ],
)
def test_invalid_json_gets_a_one_line_error(page: PageServer, body: bytes, message: str) -> None:
    answer = http.post(f"{page.url}gradio_api/call/explain", content=body)
    assert (answer.status_code, answer.json()) == (400, {"detail": message})


@pytest.mark.parametrize(("route", "depth"), [("call/predict", 300), ("call/predict", 900), ("mcp/", 1000)])
def test_deeply_nested_json_gets_a_one_line_error(page: PageServer, route: str, depth: int) -> None:
    body = b'{"data":' + b"[" * depth + b"]" * depth + b"}"
    answer = http.post(f"{page.url}gradio_api/{route}", content=body)
    assert (answer.status_code, answer.json()) == (400, {"detail": "This JSON is nested too deeply."})


def test_stalled_bodies_time_out(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "IDLE_TIMEOUT_SECONDS", 0.5)
    address = (urlsplit(page.url).hostname, urlsplit(page.url).port)
    for path, kind in (("queue/join", "application/json"), ("upload", "multipart/form-data; boundary=b")):
        with socket.create_connection(address) as connection:
            connection.settimeout(60)
            connection.sendall(
                f"POST /gradio_api/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
                "Content-Length: 1000\r\n\r\n--".encode()
            )
            assert b"408" in connection.recv(100)
