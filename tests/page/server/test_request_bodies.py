"""What the page takes from strangers: sizes, times, room on the disk."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from gradio.routes import file_upload_statuses
from PIL import Image

from hmdb.clips.clip import Clip
from hmdb.errors import VideoError
from hmdb.page import launch as serve
from hmdb.page.launch import PageServer as Served
from hmdb.page.layout import build_demo
from hmdb.page.server import edge as server
from hmdb.page.server import request_guard as border
from hmdb.page.server.file_store import ANSWERS, FILES, UPLOADS, AddressQuotaError, FileStore, StorageFullError
from hmdb.page.service.scheduler import Scheduler
from hmdb.page.settings import Settings
from hmdb.page.tabs.base import FORGOTTEN
from hmdb.recognizer import Recognizer
from hmdb.video import Confinement, confinement
from tests.page.conftest import free_port
from tests.support.checkpoints import write_checkpoint
from tests.support.paths import ROOT
from tests.support.visitor import Visitor, file
from tests.support.waiting import wait_until

SETTINGS = Settings(max_upload_mb=2, metrics=True, proxies=1)


@pytest.fixture(scope="module")
def page(recognizer: Recognizer) -> Iterator[Served]:
    page = Served(build_demo(recognizer, settings=SETTINGS), SETTINGS, quiet=True, server_port=free_port())
    yield page
    page.close(1)


# Bodies


@pytest.mark.parametrize("route", ["queue/join", "call/predict", "run/predict", "cancel", "reset", "call/v2/predict"])
def test_a_body_has_its_limit(page: Served, route: str) -> None:
    for body in (json.dumps({"data": ["x" * 2**21]}), "[" * 2**21):
        answer = httpx.post(f"{page.url}gradio_api/{route}", content=body)
        assert (answer.status_code, answer.json()["detail"]) == (
            413,
            "A request may be at most 1 MB. Upload files, do not send them within one.",
        )


def test_a_body_without_a_length_has_its_limit(page: Served) -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        while sent < 2**26:
            sent += 2**16
            yield b" " * 2**16

    with pytest.raises(httpx.HTTPError):
        httpx.post(f"{page.url}gradio_api/queue/join", content=pieces()).raise_for_status()
    assert sent < 2**24


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"no", "This is not JSON."),
        (b"[" * 10_000, "This is not JSON."),
        (b'{"data": [null, "x", NaN]}', "This is not JSON."),
        (b'{"data": ["\\ud800"]}', "This is not JSON."),
        (
            json.dumps({"data": [None, "x" * 5000]}).encode(),
            "A text of 5000 characters is too long; 4096 are the most.",
        ),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(page: Served, body: bytes, said: str) -> None:
    answer = httpx.post(f"{page.url}gradio_api/call/explain", content=body)
    assert (answer.status_code, answer.json()) == (400, {"detail": said})


# Uploads


def test_an_upload_has_its_limit_however_many_files_it_is(page: Served) -> None:
    before = FILES.used
    for parts in ([b"x" * (3 * 2**20)], [b"x" * 2**20] * 4, [b"x" * 900_000] * 8):
        answer = httpx.post(f"{page.url}gradio_api/upload", files=[("files", ("a.mp4", part)) for part in parts])
        assert (answer.status_code, answer.json()["detail"]) == (
            413,
            "Files may be at most 2 MB here. Try a shorter or smaller one.",
        )
    assert FILES.used == before


def files_on_disk() -> set[Path]:
    # the folders may go while they are looked through, which `rglob` does not bear
    return {Path(folder, name) for folder, _, names in os.walk(FILES.root) for name in names}


def test_an_upload_that_breaks_off_leaves_nothing(page: Served) -> None:
    before, used = files_on_disk(), FILES.used
    host, port = urlsplit(page.url).hostname, urlsplit(page.url).port
    for _ in range(5):
        with socket.create_connection((host, port)) as connection:
            head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
            connection.sendall(
                b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                b"Content-Length: 1500000\r\n\r\n" + head + bytes(1_000_000)
            )
            wait_until(lambda: files_on_disk() != before)
    wait_until(lambda: files_on_disk() == before and FILES.used == used)


def test_an_upload_leaves_its_file_and_no_other(page: Served) -> None:
    before = files_on_disk()
    name = Visitor(page.url).upload(b"x" * 1000)
    assert files_on_disk() - before == {FILES.root / name}
    for part in ("other", "files"):
        httpx.post(f"{page.url}gradio_api/upload", files={part: ("", b"y")})
        httpx.post(f"{page.url}gradio_api/upload", data={part: "y"}, files={"a": ("b", b"c")})
    left = files_on_disk() - before
    assert {path.stat().st_size for path in left} <= {1000, 1}
    assert not any(path.name.startswith("tmp") and path.stat().st_size == 0 for path in left)


def test_many_small_files_count_as_what_they_take_on_the_disk(page: Served) -> None:
    before = FILES.used
    answer = httpx.post(f"{page.url}gradio_api/upload", files=[("files", (f"{n}.mp4", b"x")) for n in range(100)])
    assert answer.status_code == 200
    folder = (FILES.root / answer.json()[0]).parent.parent
    assert FILES.used - before >= sum(path.stat().st_blocks * 512 for path in folder.rglob("*")) >= 100 * 512


def test_answers_leave_no_empty_files(page: Served, video: Path) -> None:
    visitor = Visitor(page.url)
    upload = visitor.upload(video.read_bytes())
    before = files_on_disk()
    for endpoint in ("predict", "timeline", "compare"):
        assert visitor.ask(endpoint, file(upload))[0]
    assert not [path for path in files_on_disk() - before if path.name.startswith("tmp")]


def test_only_names_of_uploads_that_scripts_give_are_remembered(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(border, "FORGET_SECONDS", 0.1)
    statuses = file_upload_statuses._statuses
    others = set(statuses)  # of tests before this one, until they are forgotten
    for name in ("x" * 5000, "../x", "abc"):
        httpx.post(f"{page.url}gradio_api/upload", params={"upload_id": name}, files={"files": ("a.mp4", b"x")})
        assert set(statuses) - others <= {"abc"}
    wait_until(lambda: "abc" not in statuses)


# The disk


def test_the_oldest_make_room_first_those_of_whoever_holds_most(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "page", budget=1000)
    parcels = []
    for owner, size in (("modest", 100), ("greedy", 300), ("greedy", 300), ("greedy", 200)):
        with files.parcel(UPLOADS, owner) as parcel:
            files.reserve(parcel, size)
            (parcel.path / "clip").write_bytes(b"x")
        parcels.append(parcel)
    with files.parcel(UPLOADS, "new") as parcel:
        files.reserve(parcel, 300)
    assert [each.path.exists() for each in parcels] == [True, False, True, True]
    assert files.used == 900
    files.close()
    assert not (tmp_path / "page").exists()


def test_what_is_read_or_unfinished_stays_and_a_full_disk_is_said(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "page", budget=1000)
    with files.parcel(UPLOADS) as read:
        files.reserve(read, 500)
        (read.path / "clip").write_bytes(b"x")
    with files.reading(read.path / "clip"), files.parcel(UPLOADS) as unfinished:
        files.reserve(unfinished, 500)
        with (
            pytest.raises(StorageFullError, match="no room for more files at the moment"),
            files.parcel(UPLOADS) as new,
        ):
            files.reserve(new, 1)
    assert read.path.exists()
    assert not new.path.exists()
    files.close()


def test_what_one_address_has_not_finished_leaves_room_for_others(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "page", budget=4000)
    with ExitStack() as unfinished:
        with files.parcel(UPLOADS, "modest") as early:
            files.receive(early, 1000)
        for parcel in [unfinished.enter_context(files.parcel(UPLOADS, "greedy")) for _ in range(4)]:
            with suppress(AddressQuotaError):
                files.receive(parcel, 1000)
        with files.parcel(UPLOADS, "new") as late:
            files.receive(late, 1000)
        assert early.path.exists()
        assert files.used == 3000
    files.close()


def test_a_single_upload_may_take_all_the_room_there_is(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "page", budget=4000)
    for _ in range(2):
        with files.parcel(UPLOADS) as parcel:
            for _ in range(4):
                files.receive(parcel, 1000)
    assert files.used == 4000
    files.close()


def test_an_address_with_too_much_on_its_way_is_told_so(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def upload(address: str) -> httpx.Response:
        asked = {"X-Forwarded-For": address}
        return httpx.post(f"{page.url}gradio_api/upload", files={"files": ("a.mp4", bytes(1000))}, headers=asked)

    monkeypatch.setattr("hmdb.page.server.file_store.MAX_UNFINISHED_SHARE", 2**20 / FILES.budget)
    before = FILES.used
    with socket.create_connection((urlsplit(page.url).hostname, urlsplit(page.url).port)) as unfinished:
        unfinished.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1500000\r\n\r\n"
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n' + bytes(1_200_000)
        )
        wait_until(lambda: FILES.used >= before + 1_200_000)
        refused = upload("203.0.113.9")
        assert (refused.status_code, refused.json()["detail"]) == (
            429,
            "Too much is being uploaded from your address. Try again when some of it has arrived.",
        )
        assert upload("198.51.100.1").status_code == 200
    wait_until(lambda: upload("203.0.113.9").status_code == 200)


def test_what_an_answer_waits_for_or_reads_stays(
    recognizer: Recognizer, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    class Slow(Recognizer):
        def read(self, *arguments: Any, **options: Any) -> Clip:
            assert gate.wait(60)
            return super().read(*arguments, **options)

    page = Served(build_demo(Slow(recognizer.loaded), settings=SETTINGS), SETTINGS, quiet=True, server_port=free_port())
    uploads = [Visitor(page.url).upload(video.read_bytes()) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(Visitor(page.url).ask, "predict", file(upload)) for upload in uploads]
        wait_until(lambda: page.do.turns.under_way == 2)
        with monkeypatch.context() as tight:
            tight.setattr(FILES, "budget", 2000)
            late = httpx.post(f"{page.url}gradio_api/upload", files={"files": ("a.mp4", b"x" * 1500)})
            tight.setattr(FILES, "keep_seconds", 0)
            FILES.sweep()
        gate.set()
        assert late.status_code == 507
        assert [each.result() for each in asked] == [(True, ANY)] * 2
    monkeypatch.setattr(FILES, "keep_seconds", 0)
    FILES.sweep()
    assert not any((FILES.root / upload).exists() for upload in uploads)
    page.close(0)


def test_a_full_page_says_so(page: Served) -> None:
    budget, FILES.budget = FILES.budget, 100
    try:
        answer = httpx.post(f"{page.url}gradio_api/upload", files={"files": ("a.mp4", b"x" * 1000)})
    finally:
        FILES.budget = budget
    assert answer.status_code == 507
    assert answer.json()["detail"].startswith("The page has no room for more files")


def test_the_folders_of_dead_pages_are_deleted_and_those_of_others_not(tmp_path: Path) -> None:
    code = (
        "import sys, os; from pathlib import Path; from hmdb.page.server.file_store import Files\n"
        "files = Files(Path(sys.argv[1])); files.open()\n"
        "(files.root / 'clip').write_text('x'); print('up', flush=True)\n"
        "sys.stdin.read() if sys.argv[2] == 'stay' else os._exit(1)"
    )
    dead, alive = tmp_path / "hmdb-page-dead", tmp_path / "hmdb-page-alive"
    subprocess.run([sys.executable, "-c", code, str(dead), "die"], cwd=ROOT, check=False)
    assert (dead / "clip").exists()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(alive), "stay"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        files = FileStore(tmp_path / "hmdb-page-new")
        files.open()
        assert not dead.exists()
        assert (alive / "clip").exists()
        files.close()
        other.communicate(b"")
    assert not alive.exists()


# Slow ones


def test_a_connection_that_asks_nothing_or_slowly_is_cut(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    address = (urlsplit(page.url).hostname, urlsplit(page.url).port)
    with monkeypatch.context() as hasty:
        hasty.setattr(server, "HEADER_SECONDS", 1.0)
        silent = [socket.create_connection(address) for _ in range(50)]
        slow = [socket.create_connection(address) for _ in range(50)]
        for connection in slow:
            with suppress(OSError):  # it is cut already
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        going_on = set(slow)

        def all_cut() -> bool:
            for connection in list(going_on):
                try:
                    connection.sendall(b"X-Slow: y\r\n")
                except OSError:
                    going_on.remove(connection)
            return not going_on

        wait_until(all_cut)
        for connection in silent + slow:
            connection.settimeout(60)
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
            connection.close()
    assert httpx.get(f"{page.url}health").status_code == 200


def test_a_body_that_does_not_go_on_is_cut(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(border, "IDLE_SECONDS", 0.5)
    address = (urlsplit(page.url).hostname, urlsplit(page.url).port)
    for path, kind in (("queue/join", "application/json"), ("upload", "multipart/form-data; boundary=b")):
        with socket.create_connection(address) as connection:
            connection.settimeout(60)
            connection.sendall(
                f"POST /gradio_api/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
                "Content-Length: 1000\r\n\r\n--".encode()
            )
            assert b"408" in connection.recv(100)


def test_who_does_not_read_is_cut(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "READ_SECONDS", 0.5)
    with FILES.parcel(UPLOADS) as parcel:  # more than the system keeps for a connection
        (parcel.path / "large.mp4").write_bytes(bytes(32 * 2**20))
    name = (parcel.path / "large.mp4").relative_to(FILES.root)
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
def test_slow_messages_of_others_hold_no_tool_up(page: Served, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(border, "IDLE_SECONDS", 600)  # they are not cut in the meantime
    used = FILES.used
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
    wait_until(lambda: FILES.used == used)


def test_cameras_that_send_nothing_hold_no_other_up(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    (look,) = [fn._id for fn in page.demo.fns.values() if fn.name == "look"]
    monkeypatch.setattr(page.demo.fns[look], "time_limit", 600)
    picture = io.BytesIO()
    Image.new("RGB", (32, 24)).save(picture, "JPEG")
    camera = {"url": "data:image/jpeg;base64," + base64.b64encode(picture.getvalue()).decode()}
    silent, other = Visitor(page.url), Visitor(page.url)
    event = silent.join(look, [camera, None]).json()["event_id"]
    with silent.http.stream("GET", "queue/data", params={"session_hash": silent.session}) as lines:
        assert any("process_streaming" in line for line in lines.iter_lines())  # more is waited for, and none comes
        assert other.end_of(look, [camera, None])["success"]
        assert silent.http.post(f"stream/{event}/close").status_code == 200  # until here it held its place


def test_who_was_forgotten_is_told_so(page: Served) -> None:
    """Gradio lets go of the oldest session when there are too many, and what it knew is None from then on."""
    visitor, asked = Visitor(page.url), set()
    for fn in page.demo.fns.values():
        if fn.name in ("why", "tell", "seek") and fn.inputs:
            ended = visitor.end_of(fn._id, [None] * len(fn.inputs), {"index": 0, "value": "wave"})
            assert FORGOTTEN in json.dumps(ended["output"])
            asked.add(fn.name)
    assert asked == {"why", "tell", "seek"}


@pytest.mark.parametrize(("route", "depth"), [("call/predict", 300), ("call/predict", 900), ("mcp/", 1000)])
def test_json_that_goes_too_deep_is_said_in_a_line(page: Served, route: str, depth: int) -> None:
    body = b'{"data":' + b"[" * depth + b"]" * depth + b"}"
    answer = httpx.post(f"{page.url}gradio_api/{route}", content=body)
    assert (answer.status_code, answer.json()) == (400, {"detail": "This JSON goes too deep."})


def test_odd_ranges_and_long_names_are_no_errors_of_the_page(page: Served) -> None:
    name = Visitor(page.url).upload(b"0123456789")
    odd = httpx.get(f"{page.url}gradio_api/file={name}", headers={"range": "bytes=0-1,3-4"})
    assert (odd.status_code, odd.content) == (200, b"0123456789")
    assert httpx.get(f"{page.url}static/{'x' * 5000}").status_code == 404


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "Host"])
@pytest.mark.parametrize("path", ["", "config", "gradio_api/info", "gradio_api/mcp/schema", "gradio_api/queue/join"])
def test_an_address_that_cannot_be_one_is_said_in_a_line(page: Served, path: str, header: str) -> None:
    method = "POST" if path.endswith("join") else "GET"
    answer = httpx.request(method, f"{page.url}{path}", headers={header: "[v1.a]"})
    said = "The headers of this request name no address of this page."
    assert (answer.status_code, answer.json()) == (400, {"detail": said})


# What watches the page


def test_health_says_how_things_stand_and_where(page: Served) -> None:
    wait_until(lambda: httpx.get(f"{page.url}health").json()["state"] in ("loading", "ready"))
    Visitor(page.url).ask("labels")
    wait_until(lambda: httpx.get(f"{page.url}health").json()["confinement"] is not None)
    health = httpx.get(f"{page.url}health").json()
    assert (health["state"], health["problem"], health["answers_under_way"]) == ("ready", "", 0)
    assert "seccomp" in health["confinement"]


def test_health_says_that_answers_no_longer_move(page: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    now, gate = [0.0], threading.Event()
    turns = Scheduler(1, 60, clock=lambda: now[0])
    monkeypatch.setattr(page.do, "turns", turns)

    def work() -> Iterator[int]:
        assert gate.wait(120)
        yield 1

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: list(turns.steps("test", work)))
        wait_until(lambda: turns._working == 1)
        assert httpx.get(f"{page.url}health").status_code == 200
        now[0] = 1000
        stuck = httpx.get(f"{page.url}health")
        gate.set()
        assert answer.result() == [1]
    assert (stuck.status_code, stuck.json()["state"]) == (503, "not answering")
    assert stuck.json()["problem"] == "Answers are asked for, and none goes on. Start the page again."
    assert httpx.get(f"{page.url}health").status_code == 200


def test_health_waits_for_no_decoding_process_and_says_where_none_starts(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, fails = threading.Event(), threading.Event()
    fails.set()

    def slow() -> Confinement:
        assert gate.wait(120)
        if fails.is_set():
            raise VideoError("No decoding process can be started.")
        return confinement()

    monkeypatch.setattr(serve, "confinement", slow)
    monkeypatch.setattr(serve, "RETRY_SECONDS", 0.01)
    page = Served(build_demo(recognizer, settings=SETTINGS), SETTINGS, quiet=True, server_port=free_port())
    try:
        early = httpx.get(f"{page.url}health")
        assert (early.status_code, early.json()["confinement"]) == (200, None)
        gate.set()
        wait_until(lambda: httpx.get(f"{page.url}health").status_code != 200)
        failed = httpx.get(f"{page.url}health")
        assert (failed.status_code, failed.json()["state"]) == (503, "failed")
        assert failed.json()["problem"] == "No decoding process can be started."
        fails.clear()
        wait_until(lambda: httpx.get(f"{page.url}health").json()["confinement"] is not None)
        assert httpx.get(f"{page.url}health").status_code == 200
    finally:
        fails.clear()
        gate.set()
        page.close(0)


def test_metrics_count_answers(page: Served, video: Path) -> None:
    visitor = Visitor(page.url)
    assert visitor.ask("predict", file(visitor.upload(video.read_bytes())))[0]
    text = httpx.get(f"{page.url}metrics").text
    assert 'hmdb_answers_total{outcome="ok",what="predict"}' in text
    assert "hmdb_disk_bytes" in text
    assert "127.0.0.1" not in text


def test_metrics_are_closed_unless_asked_for(recognizer: Recognizer) -> None:
    page = Served(build_demo(recognizer, settings=Settings()), Settings(), quiet=True, server_port=free_port())
    assert httpx.get(f"{page.url}metrics").status_code == 404
    page.close(0)


def test_headers_keep_others_out(page: Served) -> None:
    for path in ("", "config", "health", "gradio_api/info", "nowhere"):
        headers = httpx.get(f"{page.url}{path}", headers={"Origin": "http://evil.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'self' https://huggingface.co" in headers["content-security-policy"]
        assert "access-control-allow-credentials" not in headers


def test_proxies_say_who_asks() -> None:
    async def nowhere(*_: object) -> None:
        raise AssertionError

    def asker(proxies: int, *lines: str) -> tuple[str, int] | None:
        outside = server.EdgeMiddleware(
            nowhere, Settings(proxies=proxies), health=dict, under_way=lambda: 0, disk_bytes=lambda: 0
        )
        headers = [(b"x-forwarded-for", line.encode()) for line in lines]
        return outside._client_address({"type": "http", "headers": headers, "client": ("10.0.0.1", 1)})

    assert asker(0, "203.0.113.9") == ("10.0.0.1", 1)
    for lines in (["198.51.100.1, 203.0.113.9"], ["198.51.100.1", "203.0.113.9"]):  # which mean the same
        assert asker(1, *lines) == ("203.0.113.9", 0)
        assert asker(2, *lines) == ("198.51.100.1", 0)
    assert asker(1) == ("10.0.0.1", 1)
    assert asker(1, "203.0.113.9:4711") == ("203.0.113.9", 0)
    assert asker(1, "2001:db8:0:1:2:3:4:5") == asker(1, "[2001:db8:0:1::9]:443") == ("2001:db8:0:1::/64", 0)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:567", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:567", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]:567", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("unknown", "unknown"),
        ("x" * 100, "x" * 64),
        ("[", "["),
    ],
)
def test_an_ipv6_host_is_one_however_many_addresses_it_has(address: str, counted: str) -> None:
    assert server.counted_as(address) == counted


def test_an_address_is_not_believed_where_no_proxy_is_known(url: str, video: Path) -> None:
    before = set(FILES._parcels)
    asked = {"X-Forwarded-For": "203.0.113.9"}
    httpx.post(f"{url}gradio_api/upload", files={"files": video.read_bytes()}, headers=asked).raise_for_status()
    (upload,) = (FILES._parcels[name] for name in set(FILES._parcels) - before)
    assert upload.owner == "127.0.0.1"


# The end


@contextmanager
def start_app(tmp_path: Path, checkpoint: Path, port: int, **more: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "GRADIO_TEMP_DIR": str(tmp_path),
        "GRADIO_SERVER_PORT": str(port),
        "HMDB_MODEL": str(checkpoint),
        **more,
    }
    with subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as app:
        try:
            yield app
        finally:
            app.kill()


def is_up(port: int) -> bool:
    try:
        return bool(httpx.get(f"http://127.0.0.1:{port}/health").json().get("state") == "ready")
    except httpx.HTTPError:
        return False


def test_sigterm_lets_answers_end_and_leaves_nothing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, long_clip: Path
) -> None:
    slow = write_checkpoint(tmp_path_factory.mktemp("slow"), "scratch:timesformer-small")  # a tiny one ends too soon
    port = free_port()
    with start_app(tmp_path, slow, port) as app:
        wait_until(lambda: is_up(port), 240)
        visitor = Visitor(f"http://127.0.0.1:{port}/")
        upload = visitor.upload(long_clip.read_bytes())
        joined = visitor.http.post("call/timeline", json={"data": [file(upload)]}).json()
        with visitor.http.stream("GET", f"call/timeline/{joined['event_id']}") as events:
            app.send_signal(signal.SIGTERM)
            late = f"http://127.0.0.1:{port}/gradio_api/call/labels"
            wait_until(lambda: "about to restart" in httpx.post(late, json={"data": []}).text)
            assert "event: complete" in events.read().decode()
        assert app.wait(120) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_neither_the_page_nor_its_workers_may_become_real_time(tmp_path: Path, checkpoint: Path) -> None:
    port = free_port()
    with start_app(tmp_path, checkpoint, port) as app:
        wait_until(lambda: is_up(port), 90)
        processes = [psutil.Process(app.pid), *psutil.Process(app.pid).children(recursive=True)]
        assert len(processes) >= 2
        for process in processes:
            status = Path(f"/proc/{process.pid}/status").read_text()
            effective, bounding = (int(status.split(f"{name}:")[1].split()[0], 16) for name in ("CapEff", "CapBnd"))
            assert not (effective | bounding) >> 23 & 1  # CAP_SYS_NICE
            assert process.rlimit(psutil.RLIMIT_RTPRIO) == process.rlimit(psutil.RLIMIT_NICE) == (0, 0)


def test_a_port_that_is_taken_is_named(tmp_path: Path, checkpoint: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with start_app(tmp_path, checkpoint, port) as app:
            output, _ = app.communicate(timeout=240)
    assert app.returncode == 1
    assert output.splitlines()[-1] == (
        f"Port {port} is taken by another program. Set GRADIO_SERVER_PORT to a free one."
    )


def test_an_address_that_is_not_to_be_had_is_named(tmp_path: Path, checkpoint: Path) -> None:
    port = free_port()
    with start_app(tmp_path, checkpoint, port, GRADIO_SERVER_NAME="203.0.113.9") as app:
        output, _ = app.communicate(timeout=240)
    assert app.returncode == 1
    assert output.splitlines()[-1] == (
        f"The page cannot listen at 203.0.113.9, port {port}: Cannot assign requested address. "
        "Set GRADIO_SERVER_NAME and GRADIO_SERVER_PORT to others."
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HMDB_DTYPE", "float8", "HMDB_DTYPE must be one of auto, float32, bfloat16, int8, not 'float8'."),
        ("HMDB_AT_ONCE", "1.5", "HMDB_AT_ONCE must be a positive whole number, not '1.5'."),
        ("HMDB_SECONDS", "nan", "HMDB_SECONDS must be a positive number, not 'nan'."),
        ("HMDB_METRICS", "maybe", "HMDB_METRICS must be one of 1, true, on, 0, false, off, not 'maybe'."),
        ("HMDB_PROXIES", "-1", "HMDB_PROXIES must be a whole number of at least 0, not '-1'."),
        ("GRADIO_SERVER_PORT", "abc", "GRADIO_SERVER_PORT must be a positive whole number, not 'abc'."),
        ("GRADIO_SERVER_PORT", "99999", "GRADIO_SERVER_PORT must be at most 65535, not 99999."),
        ("HMDB_DECODE_WORKERS", "0", "HMDB_DECODE_WORKERS must be a positive whole number, not '0'."),
    ],
)
def test_a_setting_that_makes_no_sense_is_said_at_the_start(
    tmp_path: Path, checkpoint: Path, name: str, value: str, said: str
) -> None:
    with start_app(tmp_path, checkpoint, free_port(), **{name: value}) as app:
        output, _ = app.communicate(timeout=240)
    assert app.returncode == 1
    assert output.splitlines() == [said]


def test_a_folder_is_nobodys_guess() -> None:
    with FILES.parcel(ANSWERS) as one, FILES.parcel(ANSWERS) as other:
        assert len(one.path.name) == len(other.path.name) == len(secrets.token_urlsafe(24))
        assert one.path != other.path
