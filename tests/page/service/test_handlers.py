"""The handlers without a server."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hmdb.errors import ModelError
from hmdb.model.calibration import ReliabilityBin
from hmdb.page.server.file_store import FILES
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.model_loader import BackgroundModel, as_background
from hmdb.page.service.page_handlers import PAPER_SAMPLERS
from hmdb.page.service.playback import Playback
from hmdb.page.service.scheduler import Scheduler
from hmdb.page.views.walkthrough import walkthrough_html
from hmdb.recognizer import Recognizer
from hmdb.video.file import VideoFile
from hmdb.video.limits import Limits
from tests.page.conftest import SETTINGS
from tests.support.clips import moving_bar, write_mp4
from tests.support.waiting import Clock


@pytest.mark.parametrize("name", ["answer", "timeline_updates", "compare_runs"])
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_video_is_opened_once_in_one_job(
    name: str, suffix: str, recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    jobs: list[str] = []
    pins: list[object] = []
    init, run, pin = VideoFile.__init__, Scheduler.run, FILES.pin

    def counted_init(self: VideoFile, path: Path, limits: Limits) -> None:
        opened.append(path)
        init(self, path, limits)

    def counted_run(self: Scheduler, name: str, *args: Any, **options: Any) -> Iterator[Any]:
        jobs.append(name)
        return run(self, name, *args, **options)

    def counted_pin(path: str | Path) -> Any:
        pins.append(path)
        return pin(path)

    path = write_mp4(tmp_path / f"clip{suffix}", moving_bar(30))
    monkeypatch.setattr(VideoFile, "__init__", counted_init)
    monkeypatch.setattr(Scheduler, "run", counted_run)
    monkeypatch.setattr(FILES, "pin", counted_pin)
    results = list(getattr(Handlers(as_background(recognizer), None, SETTINGS), name)(str(path)))
    assert [type(each) for each in results].count(Playback) == 1
    assert opened == [path]
    assert jobs == [name]
    assert pins == [str(path)]


def test_the_walkthrough_explains_a_percentage_if_the_model_is_calibrated(recognizer: Recognizer, video: Path) -> None:
    sure = recognizer(video).probability
    reliability = ReliabilityBin(low=0.0, high=1.0, count=9, right=4)
    counted = dataclasses.replace(recognizer.loaded.calibration, bins=(reliability,))
    for calibration, count in ((recognizer.loaded.calibration, 5), (counted, 6)):
        loaded = dataclasses.replace(recognizer.loaded, calibration=calibration)
        do = Handlers(BackgroundModel(lambda loaded=loaded: Recognizer(loaded)), None, SETTINGS)  # type: ignore[misc]
        (trace,) = do.trace_answer(str(video))
        walkthrough = walkthrough_html(trace)
        assert walkthrough.count("<li>") == count
        assert (f"What {sure:.0%} means" in walkthrough) == (count == 6)
    assert "It was right on 4 of them: 44%." in walkthrough
    for sees_order in (True, False):
        walkthrough = walkthrough_html(dataclasses.replace(trace, sees_order=sees_order))
        assert ("It does not see their order" in walkthrough) != sees_order


def test_labels_in_the_walkthrough_are_escaped(recognizer: Recognizer, video: Path) -> None:
    loaded = dataclasses.replace(recognizer.loaded, labels=tuple(f"<b>{n}</b>" for n in range(25)))
    (trace,) = Handlers(BackgroundModel(lambda: Recognizer(loaded)), None, SETTINGS).trace_answer(str(video))
    assert "<b>" not in walkthrough_html(trace)


def test_a_model_that_fails_to_load_is_described_on_the_page() -> None:
    def broken() -> Recognizer:
        raise ModelError("The weights of x cannot be loaded: no.")

    words, _ = Handlers(BackgroundModel(broken), None, SETTINGS).describe()
    assert words == "**No model could be loaded.** The weights of x cannot be loaded: no."


def test_waiting_for_the_model_does_not_count_towards_the_deadline(recognizer: Recognizer, video: Path) -> None:
    clock = Clock()

    def slow() -> Recognizer:
        clock.now += 1000
        return recognizer

    loading = BackgroundModel(slow)
    do = Handlers(loading, None, SETTINGS)
    do.scheduler = Scheduler(1, 1.5, wait_until_ready=loading.wait, clock=clock)
    ((action, *_),) = do.predict(str(video))
    assert action


def test_waiting_for_the_second_model_holds_no_slot(recognizer: Recognizer, video: Path) -> None:
    seen = []

    def load() -> Recognizer:
        seen.append((do.scheduler._running, do.scheduler.pending))
        return recognizer

    do = Handlers(as_background(recognizer), BackgroundModel(load), SETTINGS)
    assert len(list(do.compare_runs(str(video), playback=False))) == do.num_runs
    assert seen == [(0, 1)]


def test_a_second_model_that_fails_to_load_costs_its_own_run(recognizer: Recognizer, video: Path) -> None:
    def load() -> Recognizer:
        raise ModelError("It is not there.")

    do = Handlers(as_background(recognizer), BackgroundModel(load), SETTINGS)
    runs = do.compare_runs(str(video), playback=False)
    found = list(itertools.islice(runs, do.num_runs - 1))
    assert [name for name, _ in found] == list(PAPER_SAMPLERS)  # type: ignore[misc]
    with pytest.raises(ModelError, match="It is not there"):
        next(runs)
