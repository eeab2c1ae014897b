from __future__ import annotations

import errno
import hashlib
import itertools
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from hmdb.batch_inference import download
from hmdb.batch_inference.download import PREFETCH, DownloadedFile, FetchLimits, download_all, file_version
from hmdb.errors import DataError

pytest.importorskip("aiohttp")


def download_one(location: str, **limits: float) -> DownloadedFile:
    """Downloads one location; the file is deleted when this returns."""
    (file,) = download_all([location], FetchLimits(**limits))  # type: ignore[arg-type]
    return file


def error_of(file: DownloadedFile) -> str:
    with pytest.raises(DataError) as caught:
        file.path()
    return str(caught.value)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary downloads."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_download_is_deleted_when_the_next_is_requested(site: str, videos: Path, scratch: Path) -> None:
    names = [f"{number}.mp4" for number in range(8)]
    urls = [f"{site}/{name}?Signature=0f" for name in names]
    for name, file in zip(names, download_all(urls, FetchLimits()), strict=True):
        content = file.path().read_bytes()
        assert (file.path().name, content) == (name, (videos / name).read_bytes())
        assert file.version == f"{len(content)}-{hashlib.sha256(content).hexdigest()}"
        assert file.seconds > 0
        assert len(list(scratch.iterdir())) <= PREFETCH
    assert not list(scratch.iterdir())


def test_stopping_early_deletes_all_downloads(site: str, scratch: Path) -> None:
    with closing(download_all([f"{site}/0.mp4"] * 6, FetchLimits())) as files:
        next(files).path()
    assert not list(scratch.iterdir())


def test_a_local_path_is_not_copied(videos: Path) -> None:
    file = download_one(str(videos / "0.mp4"))
    assert file.path() == videos / "0.mp4"
    assert (file.version, file.seconds) == (file_version(videos / "0.mp4"), 0.0)
    assert download_one(str(videos / "gone.mp4")).version is None


def test_a_missing_file_is_an_error_without_credentials(site: str) -> None:
    assert (
        error_of(download_one(f"{site}/gone.mp4?Signature=0f"))
        == f"{site}/gone.mp4 cannot be fetched: there is no such file."
    )
    assert error_of(download_one("nosuch://there/a.mp4")).startswith("nosuch://there/a.mp4 cannot be fetched: ")


def test_a_too_large_file_is_not_downloaded(site: str, videos: Path) -> None:
    with (videos / "large.bin").open("wb") as file:
        file.truncate(2**20 + 1)
    assert error_of(download_one(f"{site}/large.bin", mb=1)).endswith("cannot be fetched: it is larger than 1 MB.")


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that sends ten bytes of each file and then stalls."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connections.append(connection)
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for connection in connections:
            connection.close()


def test_a_stalled_download_costs_its_file_only(silent: str, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original, other_is_done, later = download._download_one, threading.Event(), itertools.count(31, 31)

    def download_and_note(location: str, limits: FetchLimits) -> DownloadedFile:
        file = original(location, limits)
        if location.startswith(site):
            other_is_done.set()
        return file

    def monotonic() -> float:
        """Stands still until the other file is done, then advances 31 s per call."""
        return next(later) if other_is_done.is_set() else 0.0

    monkeypatch.setattr(download, "_download_one", download_and_note)
    monkeypatch.setattr(download, "time", SimpleNamespace(monotonic=monotonic, perf_counter=time.perf_counter))
    first, second = download_all([f"{silent}/a.mp4", f"{site}/0.mp4"], FetchLimits(seconds=30))
    assert error_of(first) == f"{silent}/a.mp4 cannot be fetched: nothing more came for 30 seconds."
    assert second.error is None


def test_a_hanging_file_system_costs_its_file_only(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = threading.Event()
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda *_: finished.wait())
    assert error_of(download_one("memory://a.mp4", seconds=0.3)).endswith("nothing more came for 0.3 seconds.")
    finished.set()


def test_a_full_disk_costs_its_file_only(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/hmdb-0")  # noqa: S108 - as in the system's message

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    assert error_of(download_one(f"{site}/0.mp4")) == f"{site}/0.mp4 cannot be fetched: No space left on device."
