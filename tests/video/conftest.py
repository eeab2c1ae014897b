from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hmdb.video import worker_process
from hmdb.video.worker_pool import default_pool
from hmdb.video.worker_process import START_SECONDS
from tests.support.videos import write_video
from tests.support.workers import Sabotage


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4")


@pytest.fixture
def fresh_workers() -> Iterator[None]:
    """Starts and ends the test without workers."""
    default_pool().close()
    yield
    default_pool().close()


@pytest.fixture
def sabotage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_workers: None) -> Sabotage:
    """Runs code in every worker before it starts, in which `nth` counts the workers from 1. Returns a function that
    returns how many have started.
    """

    def arm(code: str) -> Callable[[], int]:
        folder = tmp_path / "inside"
        folder.mkdir()
        started = folder / "started"
        count = f"with open({str(started)!r}, 'ab') as file:\n    file.write(b'.')\n    nth = file.tell()\n"
        folder.joinpath("sitecustomize.py").write_text(count + code)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        return lambda: len(started.read_bytes())

    return arm


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a request time out as soon as a decoder has begun ("": as soon as it is sent), and at no other time."""

    def arm(decoder: str) -> None:
        class Slow(worker_process._Deadline):
            def _start_timer(self, seconds: float) -> threading.Timer:
                request = seconds != START_SECONDS
                return super()._start_timer(0 if request and self.decoder == decoder else 3600)

        monkeypatch.setattr(worker_process, "_Deadline", Slow)

    return arm
