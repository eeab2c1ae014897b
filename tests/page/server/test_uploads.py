"""Limits on uploads, and what they leave on the disk."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from gradio.routes import file_upload_statuses

from hmdb.page.launch import PageServer
from hmdb.page.server import uploads
from hmdb.page.server.file_store import FILES
from tests.support.visitor import Visitor, file, http
from tests.support.waiting import wait_until


def test_large_uploads_are_rejected(page: PageServer) -> None:
    before = FILES.used_bytes
    for parts in ([b"x" * (3 * 2**20)], [b"x" * 2**20] * 4, [b"x" * 900_000] * 8):
        answer = http.post(f"{page.url}gradio_api/upload", files=[("files", ("a.mp4", part)) for part in parts])
        assert (answer.status_code, answer.json()["detail"]) == (
            413,
            "Files may be at most 2 MB. Try a shorter or smaller one.",
        )
    assert FILES.used_bytes == before


def files_on_disk() -> set[Path]:
    # not `rglob`, which fails when folders are deleted meanwhile
    return {Path(folder, name) for folder, _, names in os.walk(FILES.root) for name in names}


def test_aborted_uploads_leave_nothing(page: PageServer) -> None:
    before, used = files_on_disk(), FILES.used_bytes
    host, port = urlsplit(page.url).hostname, urlsplit(page.url).port
    for _ in range(5):
        with socket.create_connection((host, port)) as connection:
            head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
            connection.sendall(
                b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                b"Content-Length: 1500000\r\n\r\n" + head + bytes(1_000_000)
            )
            wait_until(lambda: files_on_disk() != before)
    wait_until(lambda: files_on_disk() == before and FILES.used_bytes == used)


def test_uploads_leave_no_temporary_files(page: PageServer) -> None:
    before = files_on_disk()
    name = Visitor(page.url).upload(b"x" * 1000)
    assert files_on_disk() - before == {FILES.root / name}
    for part in ("other", "files"):
        http.post(f"{page.url}gradio_api/upload", files={part: ("", b"y")})
        http.post(f"{page.url}gradio_api/upload", data={part: "y"}, files={"a": ("b", b"c")})
    left = files_on_disk() - before
    assert {path.stat().st_size for path in left} <= {1000, 1}
    assert not any(path.name.startswith("tmp") and path.stat().st_size == 0 for path in left)


def test_small_files_count_as_the_blocks_they_take(page: PageServer) -> None:
    before = FILES.used_bytes
    answer = http.post(f"{page.url}gradio_api/upload", files=[("files", (f"{n}.mp4", b"x")) for n in range(100)])
    assert answer.status_code == 200
    folder = (FILES.root / answer.json()[0]).parent.parent
    assert FILES.used_bytes - before >= sum(path.stat().st_blocks * 512 for path in folder.rglob("*")) >= 100 * 512


def test_answers_leave_no_temporary_files(page: PageServer, video: Path) -> None:
    visitor = Visitor(page.url)
    upload = visitor.upload(video.read_bytes())
    before = files_on_disk()
    for endpoint in ("predict", "timeline", "compare"):
        assert visitor.ask(endpoint, file(upload))[0]
    assert not [path for path in files_on_disk() - before if path.name.startswith("tmp")]


def test_only_valid_upload_ids_are_tracked_until_they_expire(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PROGRESS_TTL_SECONDS", 0.1)
    statuses = file_upload_statuses._statuses
    others = set(statuses)  # of earlier tests, until they expire
    for name in ("x" * 5000, "../x", "abc"):
        http.post(f"{page.url}gradio_api/upload", params={"upload_id": name}, files={"files": ("a.mp4", b"x")})
        assert set(statuses) - others <= {"abc"}
    wait_until(lambda: "abc" not in statuses)


def test_unfinished_uploads_of_one_address_are_limited(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def upload(address: str) -> httpx.Response:
        asked = {"X-Forwarded-For": address}
        return http.post(f"{page.url}gradio_api/upload", files={"files": ("a.mp4", bytes(1000))}, headers=asked)

    monkeypatch.setattr("hmdb.page.server.file_store.MAX_UNFINISHED_SHARE", 2**20 / FILES.budget)
    before = FILES.used_bytes
    with socket.create_connection((urlsplit(page.url).hostname, urlsplit(page.url).port)) as unfinished:
        unfinished.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1500000\r\n\r\n"
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n' + bytes(1_200_000)
        )
        wait_until(lambda: FILES.used_bytes >= before + 1_200_000)
        refused = upload("203.0.113.9")
        assert (refused.status_code, refused.json()["detail"]) == (
            429,
            "Too many unfinished uploads from your address. Try again when one has finished.",
        )
        assert upload("198.51.100.1").status_code == 200
    wait_until(lambda: upload("203.0.113.9").status_code == 200)


def test_uploads_to_a_full_store_are_rejected(page: PageServer) -> None:
    budget, FILES.budget = FILES.budget, 100
    try:
        answer = http.post(f"{page.url}gradio_api/upload", files={"files": ("a.mp4", b"x" * 1000)})
    finally:
        FILES.budget = budget
    assert answer.status_code == 507
    assert answer.json()["detail"].startswith("The page has no room for more files")
