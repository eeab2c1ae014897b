from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

pytest.importorskip("ray")
pytest.importorskip("pyarrow")

from tests.support.clips import moving_bar, write_frames, write_mp4
from tests.support.http_server import serve_folder


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of nine readable videos and three broken ones."""
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


@pytest.fixture
def site(videos: Path) -> Iterator[str]:
    """The URL at which the videos are served."""
    with serve_folder(videos) as url:
        yield url
