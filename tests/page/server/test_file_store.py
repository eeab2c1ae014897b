"""The store of uploads and answers: budget, eviction, quotas, expiry, abandoned folders."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from hmdb.clips.clip import Clip
from hmdb.page.launch import PageServer
from hmdb.page.layout import build_demo
from hmdb.page.server import file_store
from hmdb.page.server.file_store import ANSWERS, FILES, UPLOADS, AddressQuotaError, FileStore, StorageFullError
from hmdb.recognizer import Recognizer
from tests.page.server.conftest import LIMITS
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.visitor import Visitor, file, http
from tests.support.waiting import wait_until


def test_the_oldest_folder_of_the_largest_owner_is_evicted(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "page", budget=1000)
    folders = []
    for owner, size in (("modest", 100), ("greedy", 300), ("greedy", 300), ("greedy", 200)):
        with files.create_folder(UPLOADS, owner) as folder:
            files.reserve(folder, size)
            (folder.path / "clip").write_bytes(b"x")
        folders.append(folder)
    with files.create_folder(UPLOADS, "new") as folder:
        files.reserve(folder, 300)
    assert [each.path.exists() for each in folders] == [True, False, True, True]
    assert files.used_bytes == 900
    files.close()
    assert not (tmp_path / "page").exists()


def test_pinned_and_unfinished_folders_are_not_evicted(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "page", budget=1000)
    with files.create_folder(UPLOADS) as read:
        files.reserve(read, 500)
        (read.path / "clip").write_bytes(b"x")
    with files.pin(read.path / "clip"), files.create_folder(UPLOADS) as unfinished:
        files.reserve(unfinished, 500)
        with (
            pytest.raises(StorageFullError, match="no room for more files at the moment"),
            files.create_folder(UPLOADS) as new,
        ):
            files.reserve(new, 1)
    assert read.path.exists()
    assert not new.path.exists()
    files.close()


def test_unfinished_uploads_of_one_owner_leave_room_for_others(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "page", budget=4000)
    with ExitStack() as unfinished:
        with files.create_folder(UPLOADS, "modest") as early:
            files.reserve_upload(early, 1000)
        for folder in [unfinished.enter_context(files.create_folder(UPLOADS, "greedy")) for _ in range(4)]:
            with suppress(AddressQuotaError):
                files.reserve_upload(folder, 1000)
        with files.create_folder(UPLOADS, "new") as late:
            files.reserve_upload(late, 1000)
        assert early.path.exists()
        assert files.used_bytes == 3000
    files.close()


def test_a_single_upload_may_use_the_whole_budget(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "page", budget=4000)
    for _ in range(2):
        with files.create_folder(UPLOADS) as folder:
            for _ in range(4):
                files.reserve_upload(folder, 1000)
    assert files.used_bytes == 4000
    files.close()


def test_videos_of_pending_answers_are_neither_evicted_nor_expired(
    recognizer: Recognizer, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    class Slow(Recognizer):
        def read(self, *arguments: Any, **options: Any) -> Clip:
            assert gate.wait(60)
            return super().read(*arguments, **options)

    page = PageServer(build_demo(Slow(recognizer.loaded), settings=LIMITS), LIMITS, quiet=True, server_port=free_port())
    uploads = [Visitor(page.url).upload(video.read_bytes()) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(Visitor(page.url).ask, "predict", file(upload)) for upload in uploads]
        wait_until(lambda: page.handlers.scheduler.pending == 2)
        with monkeypatch.context() as tight:
            tight.setattr(FILES, "budget", 2000)
            late = http.post(f"{page.url}gradio_api/upload", files={"files": ("a.mp4", b"x" * 1500)})
            tight.setattr(FILES, "keep_seconds", 0)
            FILES.delete_expired()
        gate.set()
        assert late.status_code == 507
        assert [each.result() for each in asked] == [(True, ANY)] * 2
    monkeypatch.setattr(FILES, "keep_seconds", 0)
    FILES.delete_expired()
    assert not any((FILES.root / upload).exists() for upload in uploads)
    page.close(0)


def test_only_folders_of_dead_processes_are_deleted(tmp_path: Path) -> None:
    code = (
        "import sys, os; from pathlib import Path; from hmdb.page.server.file_store import FileStore\n"
        "files = FileStore(Path(sys.argv[1])); files.open()\n"
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


def test_folder_names_are_unguessable() -> None:
    with FILES.create_folder(ANSWERS) as one, FILES.create_folder(ANSWERS) as other:
        assert len(one.path.name) == len(other.path.name) == len(secrets.token_urlsafe(24))
        assert one.path != other.path


def test_folders_of_other_users_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert not file_store._is_abandoned(tmp_path)
