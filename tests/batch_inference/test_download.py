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

from hmdb.batch_inference import download as fetch
from hmdb.batch_inference.download import AHEAD, DownloadedFile, FetchLimits, download_all, file_version
from hmdb.errors import DataError

pytest.importorskip("aiohttp")


def only(location: str, **limits: float) -> DownloadedFile:
    """What comes of one location, which is gone when it is looked at."""
    (found,) = download_all([location], FetchLimits(**limits))  # type: ignore[arg-type]
    return found


def told(found: DownloadedFile) -> str:
    with pytest.raises(DataError) as caught:
        found.path()
    return str(caught.value)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fetched files lie."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_what_is_behind_a_url_is_there_only_until_the_next(site: str, videos: Path, scratch: Path) -> None:
    names = [f"{number}.mp4" for number in range(8)]
    urls = [f"{site}/{name}?Signature=0f" for name in names]
    for name, found in zip(names, download_all(urls, FetchLimits()), strict=True):
        content = found.path().read_bytes()
        assert (found.path().name, content) == (name, (videos / name).read_bytes())
        assert found.stamp == f"{len(content)}-{hashlib.sha256(content).hexdigest()}"
        assert found.seconds > 0
        assert len(list(scratch.iterdir())) <= AHEAD
    assert not list(scratch.iterdir())


def test_whoever_stops_in_the_middle_leaves_nothing(site: str, scratch: Path) -> None:
    with closing(download_all([f"{site}/0.mp4"] * 6, FetchLimits())) as found:
        next(found).path()
    assert not list(scratch.iterdir())


def test_a_path_of_this_machine_is_used_where_it_is(videos: Path) -> None:
    found = only(str(videos / "0.mp4"))
    assert found.path() == videos / "0.mp4"
    assert (found.stamp, found.seconds) == (file_version(videos / "0.mp4"), 0.0)
    assert only(str(videos / "gone.mp4")).stamp is None


def test_what_is_not_there_is_one_line_without_secrets(site: str) -> None:
    assert told(only(f"{site}/gone.mp4?Signature=0f")) == f"{site}/gone.mp4 cannot be fetched: there is no such thing."
    assert told(only("nosuch://there/a.mp4")).startswith("nosuch://there/a.mp4 cannot be fetched: ")


def test_a_file_that_is_too_large_is_not_fetched(site: str, videos: Path) -> None:
    with (videos / "large.bin").open("wb") as file:
        file.truncate(2**20 + 1)
    assert told(only(f"{site}/large.bin", mb=1)).endswith("cannot be fetched: it is larger than 1 MB.")


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that begins to answer and says no more."""
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


def test_a_server_that_falls_silent_costs_its_file_alone(
    silent: str, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_one, other_is_there, later = fetch._download_one, threading.Event(), itertools.count(31, 31)

    def noted(location: str, limits: FetchLimits) -> DownloadedFile:
        found = fetch_one(location, limits)
        if location.startswith(site):
            other_is_there.set()
        return found

    def monotonic() -> float:
        """Stands still until the other file is there; each look at it is half a minute after the last from then on."""
        return next(later) if other_is_there.is_set() else 0.0

    monkeypatch.setattr(fetch, "_download_one", noted)
    monkeypatch.setattr(fetch, "time", SimpleNamespace(monotonic=monotonic, perf_counter=time.perf_counter))
    first, second = download_all([f"{silent}/a.mp4", f"{site}/0.mp4"], FetchLimits(seconds=30))
    assert told(first) == f"{silent}/a.mp4 cannot be fetched: nothing more came for 30 seconds."
    assert second.error is None


def test_a_file_system_that_hangs_costs_its_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(MemoryFileSystem, "get_file", lambda *_: over.wait())
    assert told(only("memory://a.mp4", seconds=0.3)).endswith("nothing more came for 0.3 seconds.")
    over.set()


def test_a_full_disk_costs_a_row(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/hmdb-0")  # noqa: S108 - as the system says it

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    assert told(only(f"{site}/0.mp4")) == f"{site}/0.mp4 cannot be fetched: No space left on device."
