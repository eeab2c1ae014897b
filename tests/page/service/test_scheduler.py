"""Who is answered when: shares, order, deadlines."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
from gradio.context import LocalContext

from hmdb.cancellation import check_cancelled
from hmdb.errors import StoppedError
from hmdb.page.server import metrics as observed
from hmdb.page.server.file_store import UPLOADS, FileStore
from hmdb.page.service.scheduler import MARGIN_SECONDS, BusyError, Scheduler
from tests.support.paths import ROOT
from tests.support.waiting import Clock, wait_until


def as_visitor(address: str, work: Callable[[], Any], session: str = "") -> threading.Thread:
    """Work in a thread of its own, for a visitor."""

    def run() -> None:
        LocalContext.request.set(SimpleNamespace(client=SimpleNamespace(host=address), session_hash=session))  # type: ignore[arg-type]
        work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_address_that_asks_a_lot_makes_nobody_else_wait_for_all_of_it() -> None:
    turns, order, gate = Scheduler(1, 60, most=40, share=20), list[str](), threading.Event()

    def work(name: str) -> Iterator[None]:
        order.append(name)
        assert gate.wait(60)
        yield

    def ask(name: str) -> None:
        list(turns.steps("test", lambda: work(name)))

    threads = [as_visitor("10.0.0.1", lambda: ask("greedy"))]
    wait_until(lambda: order == ["greedy"])
    threads += [as_visitor("10.0.0.1", lambda: ask("greedy")) for _ in range(19)]
    wait_until(lambda: len(turns._waiting) == 19)
    threads += [as_visitor(f"10.0.0.{n}", lambda: ask("modest")) for n in (2, 3)]
    wait_until(lambda: len(turns._waiting) == 21)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert order == ["greedy", "modest", "modest", *["greedy"] * 19]


def test_an_address_has_its_share_and_no_more() -> None:
    turns, gate = Scheduler(1, 60, most=6, share=4), threading.Event()
    said: list[str] = []

    def work() -> Iterator[None]:
        assert gate.wait(60)
        yield

    def ask() -> None:
        try:
            list(turns.steps("test", work))
        except BusyError as error:
            said.append(str(error))

    threads = [as_visitor("10.0.0.1", ask) for _ in range(40)]
    wait_until(lambda: len(said) == 36)
    assert set(said) == {"4 answers for you are under way already. Wait for one of them."}
    threads += [as_visitor(f"10.0.0.{n}", ask) for n in range(2, 6)]
    wait_until(lambda: len(said) == 38)
    assert said[-1] == "6 answers are under way already. Try again in a minute."
    gate.set()
    for thread in threads:
        thread.join(60)
    assert turns.under_way == 0


def test_only_work_counts_and_work_ends_at_its_deadline() -> None:
    clock = Clock()
    turns = Scheduler(1, 0.3, clock=clock)

    def slow_visitor() -> Iterator[int]:
        yield 1
        yield 2

    steps = turns.steps("test", slow_visitor)
    assert next(steps) == 1
    clock.now += 1000
    assert next(steps) == 2

    def endless() -> Iterator[int]:
        while True:
            check_cancelled()
            clock.now += 0.1
        yield 1  # type: ignore[unreachable]

    with pytest.raises(StoppedError, match=r"longer than 0\.3 seconds"):
        list(turns.steps("test", endless))


def test_reading_a_video_ends_at_the_deadline_too(video: Any) -> None:
    from hmdb.video import open_video

    clock, asked = Clock(), 0

    def read() -> Iterator[int]:
        nonlocal asked
        opened = open_video(video)
        while True:
            asked += 1
            clock.now += 0.5
            opened.frames_at([0])
        yield 1  # type: ignore[unreachable]

    with pytest.raises(StoppedError, match="longer than 1 seconds"):
        list(Scheduler(1, 1, clock=clock).steps("test", read))
    assert asked == 3


def test_answers_that_no_longer_move_are_noticed() -> None:
    clock, gate = Clock(), threading.Event()
    turns = Scheduler(1, 60, clock=clock)
    patience = 60 + MARGIN_SECONDS

    def work() -> Iterator[int]:
        yield 1
        assert gate.wait(60)
        yield 2

    clock.now = 10_000  # idle for long
    steps = turns.steps("test", work)
    assert next(steps) == 1
    clock.now += 10_000  # the visitor does not ask for more
    assert not turns.stuck
    threads = [as_visitor("10.0.0.1", lambda: list(steps))]
    wait_until(lambda: turns._working == 1)
    threads.append(as_visitor("10.0.0.2", lambda: list(turns.steps("test", work))))
    wait_until(lambda: len(turns._waiting) == 1)
    clock.now += patience
    stuck = [turns.stuck]
    clock.now += 1
    stuck.append(turns.stuck)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert [*stuck, turns.stuck] == [False, True, False]


class Forbidden:
    """A lock that must not be taken."""

    def __enter__(self) -> None:
        raise AssertionError("a lock is taken")

    def __exit__(self, *_: object) -> None: ...

    def acquire(self, *_: object, **__: object) -> None:
        raise AssertionError("a lock is taken")


def test_an_answer_that_the_garbage_collector_ends_takes_no_lock_and_is_counted_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """It does so in the midst of anything: of a lock of the metrics that this thread holds, or of a line of the log."""
    turns = Scheduler(1, 60)
    files = FileStore(tmp_path / "page")
    with files.create_folder(UPLOADS) as folder:
        (folder.path / "clip").write_bytes(b"x")

    def work() -> Iterator[int]:
        with files.pin(folder.path / "clip"):
            yield 1
            yield 2

    steps = turns.steps("abandoned", work)
    next(steps)
    assert folder.pins
    cycle: list[Any] = [steps]
    cycle.append(cycle)
    complaints: list[Any] = []
    with caplog.at_level(logging.INFO, "hmdb.page.answers"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "unraisablehook", complaints.append)
            for holder, lock in (
                (turns, "_changed"),
                (files, "_lock"),
                (observed.ANSWERS, "_lock"),
                (observed.SECONDS, "_lock"),
                (caplog.handler, "lock"),
            ):
                patch.setattr(holder, lock, Forbidden())
            del steps, cycle
            gc.collect()
        assert not complaints
        assert turns.under_way == 0
        assert not folder.pins
        assert not caplog.messages
        assert list(turns.steps("test", lambda: iter_once())) == [1]
    assert [json.loads(line)["outcome"] for line in caplog.messages] == ["left", "ok"]
    files.close()


def iter_once() -> Iterator[int]:
    yield 1


def test_the_page_answers_on_where_an_answer_is_collected_within_the_lock_of_the_metrics() -> None:
    code = """
        import faulthandler, gc, prometheus_client
        from hmdb.page.service.scheduler import Turns
        faulthandler.dump_traceback_later(120, exit=True)
        plain = prometheus_client.Histogram._metric_init
        def collected_here(self):
            gc.collect()
            plain(self)
        prometheus_client.Histogram._metric_init = collected_here
        gc.disable()
        turns = Turns(1, 60.0)
        abandoned = turns.steps("follow", lambda: (n for n in (1, 2)))
        next(abandoned)
        cycle = [abandoned]; cycle.append(cycle); del abandoned, cycle
        print(list(turns.steps("explain", lambda: (n for n in (1, 2)))))
    """
    run = subprocess.run([sys.executable, "-c", dedent(code)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout == "[1, 2]\n", run.stderr


def test_who_leaves_makes_room() -> None:
    turns = Scheduler(1, 60, most=1)

    def work() -> Iterator[int]:
        yield 1
        yield 2

    steps = turns.steps("test", work)
    next(steps)
    assert turns.under_way == 1
    steps.close()  # type: ignore[attr-defined]
    assert turns.under_way == 0
    assert list(turns.steps("test", work)) == [1, 2]


def test_one_line_tells_of_an_answer_and_of_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def failing() -> Iterator[int]:
        raise StoppedError("secret.mp4 takes too long.")
        yield 1  # type: ignore[unreachable]

    with caplog.at_level(logging.INFO, "hmdb.page.answers"):
        as_visitor("203.0.113.9", lambda: list(Scheduler(1, 60).steps("predict", lambda: (n for n in (1,))))).join(60)
        with pytest.raises(StoppedError):
            list(Scheduler(1, 60).steps("timeline", failing))
    first, second = map(json.loads, caplog.messages)
    assert (first["answer"], first["outcome"]) == ("predict", "ok")
    assert (second["answer"], second["outcome"]) == ("timeline", "StoppedError")
    assert set(first) == {"answer", "outcome", "worked", "taken"}


def test_a_visitor_cancels_what_one_part_of_the_page_asked_for() -> None:
    turns, gate = Scheduler(4, 60, share=8), threading.Event()
    ended: dict[str, int] = {}

    def work() -> Iterator[int]:
        yield 1
        assert gate.wait(60)
        check_cancelled()
        yield 2

    def ask(name: str, asker: str) -> Callable[[], None]:
        return lambda: ended.update({name: len(list(turns.steps("test", work, asker)))})

    threads = [
        as_visitor("10.0.0.1", ask("mine", "left"), "me"),
        as_visitor("10.0.0.1", ask("my other", "right"), "me"),
        as_visitor("10.0.0.1", ask("another's", "left"), "you"),
    ]
    wait_until(lambda: turns.under_way == 3)
    as_visitor("10.0.0.1", lambda: turns.cancel("left"), "me").join()
    gate.set()
    for thread in threads:
        thread.join(60)
    assert ended == {"mine": 1, "my other": 2, "another's": 2}


def test_what_is_found_after_it_was_cancelled_is_not_shown() -> None:
    turns, asker = Scheduler(1, 60), object()

    def work() -> Iterator[str]:
        turns.cancel(asker)  # by the visitor, while it works
        yield "too late"

    assert list(turns.steps("test", work, asker)) == []
