from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

pytest.importorskip("ray")
pytest.importorskip("pyarrow")

from tests.support.clips import moving_bar, write_frames, write_mp4


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine videos that can be read and three that cannot."""
    folder = tmp_path_factory.mktemp("many")
    first = write_mp4(folder / "0.mp4", moving_bar(30))
    write_mp4(folder / "1.mp4", moving_bar(12))
    write_frames(folder / "frames", moving_bar(9))
    for number in range(2, 8):
        (folder / f"{number}.mp4").hardlink_to(first)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no video")
    (folder / "cut.mp4").write_bytes(first.read_bytes()[:600])
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(folder: Path, handler: type[SimpleHTTPRequestHandler] = Quiet) -> Iterator[str]:
    """The URL at which a folder is served meanwhile."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(videos: Path) -> Iterator[str]:
    with serving(videos) as url:
        yield url
