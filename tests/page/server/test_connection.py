"""Slow clients: they are disconnected, and delay no others."""

from __future__ import annotations

import base64
import io
import json
import socket
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from hmdb.page.launch import PageServer
from hmdb.page.server import bodies
from hmdb.page.server.file_store import FILES, UPLOADS
from tests.support.visitor import Visitor, http
from tests.support.waiting import wait_until


def test_silent_and_slow_connections_are_closed(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    address = (urlsplit(page.url).hostname, urlsplit(page.url).port)
    with monkeypatch.context() as hasty:
        hasty.setattr("hmdb.page.server.connection.HEADER_TIMEOUT_SECONDS", 1.0)
        silent = [socket.create_connection(address) for _ in range(50)]
        slow = [socket.create_connection(address) for _ in range(50)]
        for connection in slow:
            with suppress(OSError):  # already closed
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        still_open = set(slow)

        def all_closed() -> bool:
            for connection in list(still_open):
                try:
                    connection.sendall(b"X-Slow: y\r\n")
                except OSError:
                    still_open.remove(connection)
            return not still_open

        wait_until(all_closed)
        for connection in silent + slow:
            connection.settimeout(60)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            connection.close()
    assert http.get(f"{page.url}health").status_code == 200


def test_clients_that_do_not_read_are_disconnected(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmdb.page.server.connection.WRITE_TIMEOUT_SECONDS", 0.5)
    with FILES.create_folder(UPLOADS) as folder:  # more than the socket's buffers
        (folder.path / "large.mp4").write_bytes(bytes(32 * 2**20))
    name = (folder.path / "large.mp4").relative_to(FILES.root)
    received = 0
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((urlsplit(page.url).hostname, urlsplit(page.url).port))
        connection.sendall(f"GET /gradio_api/file={name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received += len(connection.recv(1))
        mine, open_ones = connection.getsockname(), page.demo.server.server_state.connections
        wait_until(lambda: all(getattr(each, "client", None) != mine for each in list(open_ones)))
        connection.settimeout(60)
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += len(piece)
    assert received < 32 * 2**20


@pytest.mark.parametrize("size", [100_000, 2 * 2**20])
def test_slow_mcp_messages_block_no_others(page: PageServer, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "IDLE_TIMEOUT_SECONDS", 600)  # so that they stay open
    used = FILES.used_bytes
    address = (urlsplit(page.url).hostname, urlsplit(page.url).port)
    slow = [socket.create_connection(address) for _ in range(3)]
    for connection in slow:
        connection.sendall(
            b"POST /gradio_api/mcp/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n{" % size
        )
    asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}).ljust(size)
    kinds = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    answer = httpx.post(f"{page.url}gradio_api/mcp/", content=asked, headers=kinds, timeout=120)
    assert answer.status_code == 200
    for connection in slow:
        connection.close()
    wait_until(lambda: FILES.used_bytes == used)


def test_silent_cameras_block_no_others(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    (on_frame,) = [fn._id for fn in page.demo.fns.values() if fn.name == "on_frame"]
    monkeypatch.setattr(page.demo.fns[on_frame], "time_limit", 600)
    picture = io.BytesIO()
    Image.new("RGB", (32, 24)).save(picture, "JPEG")
    camera = {"url": "data:image/jpeg;base64," + base64.b64encode(picture.getvalue()).decode()}
    silent, other = Visitor(page.url), Visitor(page.url)
    event = silent.join(on_frame, [camera, None]).json()["event_id"]
    with silent.http.stream("GET", "queue/data", params={"session_hash": silent.session}) as lines:
        assert any("process_streaming" in line for line in lines.iter_lines())  # it waits for more pictures
        assert other.run_event(on_frame, [camera, None])["success"]
        assert silent.http.post(f"stream/{event}/close").status_code == 200  # it was still running
