"""Calls on a lent GPU, and the seconds they request."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from hmdb.cancellation import check_cancelled
from hmdb.errors import StoppedError
from hmdb.page.layout import build_demo
from hmdb.page.server.error_reporting import TRACEBACK_ONCE, UNEXPECTED
from hmdb.page.service import zerogpu
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.model_loader import as_background
from hmdb.page.service.page_blocks import PageBlocks
from hmdb.page.service.playback import Playback
from hmdb.page.service.zerogpu import (
    FIRST_START_SECONDS,
    FIRST_UNIT_SECONDS,
    MAX_SECONDS,
    MIN_SECONDS,
    REMEMBERED_CALLS,
    SAFETY_FACTOR,
    Call,
    CallEnd,
    Estimate,
    GpuRecognizer,
    LendingError,
)
from hmdb.recognizer import Recognizer
from hmdb.results import Explanation, Faithfulness, Prediction, Timeline
from tests.page.conftest import SETTINGS, served
from tests.support.lending import copied, lent
from tests.support.visitor import Visitor, file

# The estimate


def test_the_first_call_requests_a_guess() -> None:
    assert Estimate().seconds() == 14 >= SAFETY_FACTOR * (FIRST_START_SECONDS + FIRST_UNIT_SECONDS)
    assert Estimate().seconds(11) == 29
    assert Estimate().seconds(10**6) == MAX_SECONDS


def test_a_call_requests_the_slowest_start_and_unit_with_a_margin() -> None:
    estimate = Estimate()
    estimate.add(CallEnd(6, 2))
    assert estimate.seconds() == SAFETY_FACTOR * (6 + 2)
    estimate.add(CallEnd(0, 4))
    assert estimate.seconds() == SAFETY_FACTOR * (6 + 4)
    for _ in range(REMEMBERED_CALLS):
        estimate.add(CallEnd(0, 1))
    assert estimate.seconds() == MIN_SECONDS
    assert estimate.seconds(10) == SAFETY_FACTOR * 10


def test_seconds_grow_with_the_units_of_work() -> None:
    estimate = Estimate()
    estimate.add(CallEnd(4, 5), size=10)
    assert estimate.seconds(10) == 14 >= SAFETY_FACTOR * (4 + 5)
    assert estimate.seconds(20) == SAFETY_FACTOR * (4 + 10)


# The call


def working(recognizer: Recognizer, seconds: list[float]) -> Iterator[float]:
    """Takes the given seconds for each result, by the test's clock."""
    for each in seconds:
        CLOCK.now += each
        check_cancelled()
        if each < 0:
            raise KeyError(each)
        yield each


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


CLOCK = Clock()


@pytest.fixture
def model(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> GpuRecognizer:
    monkeypatch.setattr(zerogpu, "time", CLOCK)
    return GpuRecognizer(as_background(recognizer))


def test_a_call_requests_what_the_last_took(model: GpuRecognizer) -> None:
    with lent() as lending:
        assert list(model.stream(partial(working, seconds=[5.0, 5.0]), lambda: 2)) == [5, 5]
        assert list(model.stream(partial(working, seconds=[1.0]))) == [1]
        assert list(model.stream(partial(working, seconds=[1.0]), lambda: 3)) == [1]
    assert lending.requested == [15, 8, 23]


def test_the_start_counts_from_when_the_gpu_is_lent(model: GpuRecognizer) -> None:
    call = Call(model._number, partial(working, seconds=[2.0]), 14)
    CLOCK.now += 1000  # of waiting for a GPU
    there = copied(call)
    CLOCK.now += 5  # of moving the weights
    assert list(zerogpu._run(there)) == [2.0, CallEnd(5, 2)]


def test_a_slow_call_goes_on_or_stops_in_time_and_the_next_requests_more(model: GpuRecognizer) -> None:
    job = partial(working, seconds=[10.0, 10.0])
    with lent() as lending:
        steps = model.stream(job, stop_in_time=True)
        assert next(steps) == 10
        with pytest.raises(StoppedError, match="longer than the 14 seconds"):
            next(steps)
        assert list(model.stream(job, stop_in_time=True)) == [10, 10]
    assert lending.requested == [14, 30]
    with lent() as lending:
        assert [list(model.stream(job)) for _ in range(2)] == [[10, 10]] * 2
    assert lending.requested == [14, 30]


def test_an_unexpected_error_comes_back_with_its_traceback(model: GpuRecognizer) -> None:
    with lent(), pytest.raises(RuntimeError, match=r"(?s)Traceback.*in working.*KeyError: -1"):
        list(model.stream(partial(working, seconds=[-1])))


def test_the_call_after_one_taken_back_requests_more(model: GpuRecognizer) -> None:
    with lent(taken_back=True) as lending:
        for _ in range(2):
            with pytest.raises(LendingError, match=r"^GPU task aborted$"):
                list(model.stream(partial(working, seconds=[1.0])))
    assert lending.requested == [14, 21]


def test_a_refused_call_is_not_measured(model: GpuRecognizer) -> None:
    with lent(left=9) as lending:
        for _ in range(2):
            with pytest.raises(LendingError, match=r"^You have exceeded .* \(14s requested vs. 9s left\)"):
                list(model.stream(partial(working, seconds=[1.0])))
    assert lending.requested == [14, 14]


def test_without_the_spaces_module_jobs_run_here(model: GpuRecognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spaces", None)
    assert zerogpu._lender() is None is zerogpu._lend
    steps = model.stream(partial(working, seconds=[99.0, 99.0, -1]), lambda: pytest.fail("the size is not needed"))
    assert [next(steps), next(steps)] == [99, 99]
    with pytest.raises(KeyError):
        next(steps)


# The page


@pytest.fixture(scope="module")
def do(recognizer: Recognizer) -> Handlers:
    return Handlers(as_background(recognizer), as_background(recognizer), SETTINGS)


def test_prediction_map_and_faithfulness_are_one_call(do: Handlers, video: Path) -> None:
    with lent(left=30) as lending:
        found = list(do.answer(str(video)))
    assert [type(each) for each in found] == [Playback, Prediction, Explanation, Faithfulness]
    assert lending.requested == [14]


@pytest.mark.parametrize(
    ("handler", "more", "calls"),
    [
        ("explain_label", ["wave"], 1),
        ("trace_answer", [], 1),
        ("predict", [], 1),
        ("explain", [], 1),
        ("check", [], 1),
        ("compare_runs", [], 2),
    ],
)
def test_each_question_is_one_call_per_model(
    do: Handlers, video: Path, handler: str, more: list[str], calls: int
) -> None:
    here = list(getattr(do, handler)(str(video), *more))
    with lent() as lending:
        there = list(getattr(do, handler)(str(video), *more))
    assert len(there) == len(here)
    assert len(lending.requested) == calls


def test_a_long_video_requests_seconds_by_its_windows_and_stops_in_time(
    recognizer: Recognizer, long_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Recognizer):
        def iter_timeline(self, *args: Any, **options: Any) -> Generator[Timeline]:
            for timeline in super().iter_timeline(*args, **options):
                yield timeline
                CLOCK.now += 16

    monkeypatch.setattr(zerogpu, "time", CLOCK)
    ends = []
    for each in (recognizer, Slow(recognizer.loaded)):
        with lent() as lending:
            results = list(Handlers(as_background(each), None, SETTINGS).timeline_updates(str(long_clip)))
        *_, (timeline, finished) = [result for result in results if isinstance(result, tuple)]
        ends.append((len(timeline.answers), finished))
        assert lending.requested == [32]
    assert ends == [(13, True), (8, True)]


@pytest.fixture(scope="module")
def demo(recognizer: Recognizer) -> Iterator[PageBlocks]:
    demo = build_demo(recognizer, settings=SETTINGS)
    with served(demo):
        yield demo


def messages_about(demo: gr.Blocks, video: Path) -> str:
    """All messages of the page about a file that is dropped there."""
    visitor = Visitor(str(demo.local_url))
    take = next(
        fn
        for fn in demo.fns.values()
        if fn.name == "on_new_video" and [each.get_block_name() for each in fn.inputs] == ["number", "file"]
    )
    run = next(fn for fn in demo.fns.values() if fn.name == "run" and fn._id > take._id)
    data: list[Any]
    for fn, data in ((take, [1, file(visitor.upload(video.read_bytes()))]), (run, [])):
        visitor.join(fn._id, data)
        with visitor.http.stream("GET", "queue/data", params={"session_hash": visitor.session}) as events:
            text = events.read().decode()
    return text


def test_thirty_seconds_are_enough_for_a_map(demo: gr.Blocks, video: Path, recognizer: Recognizer) -> None:
    with lent(left=30) as lending:
        messages = messages_about(demo, video)
    assert recognizer(video).label in messages
    assert "What speaks for" in messages
    assert lending.requested == [14]


def test_a_refusal_is_shown_in_its_own_words(demo: gr.Blocks, video: Path) -> None:
    with lent(left=9) as lending:
        messages = messages_about(demo, video)
        visitor = Visitor(str(demo.local_url))
        ok, answer = visitor.ask("predict", file(visitor.upload(video.read_bytes())))
    assert lending.refusal in messages
    assert (ok, answer["error"]) == (False, lending.refusal)


@pytest.mark.parametrize("error", [gr.Error("inside"), TypeError("inside")])
def test_an_internal_error_is_not_blamed_on_the_visitor(
    demo: gr.Blocks, video: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Recognizer, "predict", fail)
    TRACEBACK_ONCE._seen.clear()
    visitor = Visitor(str(demo.local_url))
    ok, answer = visitor.ask("predict", file(visitor.upload(video.read_bytes())))
    assert (ok, answer["error"]) == (False, UNEXPECTED)
    assert "in fail" in caplog.text
