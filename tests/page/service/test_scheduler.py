"""The scheduler: fairness, limits, deadlines, cancellation."""

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
from hmdb.page.server import metrics
from hmdb.page.server.file_store import UPLOADS, FileStore
from hmdb.page.service.scheduler import MARGIN_SECONDS, BusyError, Scheduler
from tests.support.paths import ROOT
from tests.support.waiting import Clock, wait_until


def as_visitor(address: str, work: Callable[[], Any], session: str = "") -> threading.Thread:
    """Starts work in a thread, on behalf of a visitor."""

    def run() -> None:
        LocalContext.request.set(SimpleNamespace(client=SimpleNamespace(host=address), session_hash=session))  # type: ignore[arg-type]
        work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_addresses_are_served_round_robin() -> None:
    scheduler, order, gate = Scheduler(1, 60, max_pending=40, max_per_address=20), list[str](), threading.Event()

    def work(name: str) -> Iterator[None]:
        order.append(name)
        assert gate.wait(60)
        yield

    def ask(name: str) -> None:
        list(scheduler.run("test", lambda: work(name)))

    threads = [as_visitor("10.0.0.1", lambda: ask("greedy"))]
    wait_until(lambda: order == ["greedy"])
    threads += [as_visitor("10.0.0.1", lambda: ask("greedy")) for _ in range(19)]
    wait_until(lambda: len(scheduler._waiting) == 19)
    threads += [as_visitor(f"10.0.0.{n}", lambda: ask("modest")) for n in (2, 3)]
    wait_until(lambda: len(scheduler._waiting) == 21)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert order == ["greedy", "modest", "modest", *["greedy"] * 19]


def test_pending_jobs_are_limited_per_address_and_in_all() -> None:
    scheduler, gate = Scheduler(1, 60, max_pending=6, max_per_address=4), threading.Event()
    errors: list[str] = []

    def work() -> Iterator[None]:
        assert gate.wait(60)
        yield

    def ask() -> None:
        try:
            list(scheduler.run("test", work))
        except BusyError as error:
            errors.append(str(error))

    threads = [as_visitor("10.0.0.1", ask) for _ in range(40)]
    wait_until(lambda: len(errors) == 36)
    assert set(errors) == {"4 of your answers are already in progress. Wait for one of them."}
    threads += [as_visitor(f"10.0.0.{n}", ask) for n in range(2, 6)]
    wait_until(lambda: len(errors) == 38)
    assert errors[-1] == "6 answers are already in progress. Try again in a minute."
    gate.set()
    for thread in threads:
        thread.join(60)
    assert scheduler.pending == 0


def test_the_deadline_counts_work_and_not_waiting() -> None:
    clock = Clock()
    scheduler = Scheduler(1, 0.3, clock=clock)

    def slow_visitor() -> Iterator[int]:
        yield 1
        yield 2

    job = scheduler.run("test", slow_visitor)
    assert next(job) == 1
    clock.now += 1000
    assert next(job) == 2

    def endless() -> Iterator[int]:
        while True:
            check_cancelled()
            clock.now += 0.1
        yield 1  # type: ignore[unreachable]

    with pytest.raises(StoppedError, match=r"longer than 0\.3 seconds"):
        list(scheduler.run("test", endless))


def test_the_deadline_ends_reading_a_video(video: Any) -> None:
    from hmdb.video import open_video

    clock, reads = Clock(), 0

    def read() -> Iterator[int]:
        nonlocal reads
        opened = open_video(video)
        while True:
            reads += 1
            clock.now += 0.5
            opened.frames_at([0])
        yield 1  # type: ignore[unreachable]

    with pytest.raises(StoppedError, match="longer than 1 seconds"):
        list(Scheduler(1, 1, clock=clock).run("test", read))
    assert reads == 3


def test_a_stuck_scheduler_is_detected() -> None:
    clock, gate = Clock(), threading.Event()
    scheduler = Scheduler(1, 60, clock=clock)
    patience = 60 + MARGIN_SECONDS

    def work() -> Iterator[int]:
        yield 1
        assert gate.wait(60)
        yield 2

    clock.now = 10_000  # idle for long
    job = scheduler.run("test", work)
    assert next(job) == 1
    clock.now += 10_000  # the visitor does not ask for more
    assert not scheduler.stuck
    threads = [as_visitor("10.0.0.1", lambda: list(job))]
    wait_until(lambda: scheduler._running == 1)
    threads.append(as_visitor("10.0.0.2", lambda: list(scheduler.run("test", work))))
    wait_until(lambda: len(scheduler._waiting) == 1)
    clock.now += patience
    stuck = [scheduler.stuck]
    clock.now += 1
    stuck.append(scheduler.stuck)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert [*stuck, scheduler.stuck] == [False, True, False]


class Forbidden:
    """A lock that must not be taken."""

    def __enter__(self) -> None:
        raise AssertionError("a lock is taken")

    def __exit__(self, *_: object) -> None: ...

    def acquire(self, *_: object, **__: object) -> None:
        raise AssertionError("a lock is taken")


def test_a_garbage_collected_job_takes_no_lock_and_is_counted_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Collection can happen while this thread holds a lock of the metrics or of the log."""
    scheduler = Scheduler(1, 60)
    files = FileStore(tmp_path / "page")
    with files.create_folder(UPLOADS) as folder:
        (folder.path / "clip").write_bytes(b"x")

    def work() -> Iterator[int]:
        with files.pin(folder.path / "clip"):
            yield 1
            yield 2

    job = scheduler.run("abandoned", work)
    next(job)
    assert folder.pins
    cycle: list[Any] = [job]
    cycle.append(cycle)
    complaints: list[Any] = []
    with caplog.at_level(logging.INFO, "hmdb.page.answers"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "unraisablehook", complaints.append)
            for holder, lock in (
                (scheduler, "_changed"),
                (files, "_lock"),
                (metrics.ANSWERS, "_lock"),
                (metrics.SECONDS, "_lock"),
                (caplog.handler, "lock"),
            ):
                patch.setattr(holder, lock, Forbidden())
            del job, cycle
            gc.collect()
        assert not complaints
        assert scheduler.pending == 0
        assert not folder.pins
        assert not caplog.messages
        assert list(scheduler.run("test", lambda: iter_once())) == [1]
    assert [json.loads(line)["outcome"] for line in caplog.messages] == ["abandoned", "ok"]
    files.close()


def iter_once() -> Iterator[int]:
    yield 1


def test_collecting_a_job_inside_a_metrics_lock_does_not_deadlock() -> None:
    code = """
        import faulthandler, gc, prometheus_client
        from hmdb.page.service.scheduler import Scheduler
        faulthandler.dump_traceback_later(120, exit=True)
        plain = prometheus_client.Histogram._metric_init
        def collected_here(self):
            gc.collect()
            plain(self)
        prometheus_client.Histogram._metric_init = collected_here
        gc.disable()
        scheduler = Scheduler(1, 60.0)
        abandoned = scheduler.run("follow", lambda: (n for n in (1, 2)))
        next(abandoned)
        cycle = [abandoned]; cycle.append(cycle); del abandoned, cycle
        print(list(scheduler.run("explain", lambda: (n for n in (1, 2)))))
    """
    run = subprocess.run([sys.executable, "-c", dedent(code)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout == "[1, 2]\n", run.stderr


def test_closing_a_job_frees_its_place() -> None:
    scheduler = Scheduler(1, 60, max_pending=1)

    def work() -> Iterator[int]:
        yield 1
        yield 2

    job = scheduler.run("test", work)
    next(job)
    assert scheduler.pending == 1
    job.close()  # type: ignore[attr-defined]
    assert scheduler.pending == 0
    assert list(scheduler.run("test", work)) == [1, 2]


def test_the_log_line_holds_no_address_and_no_file_name(caplog: pytest.LogCaptureFixture) -> None:
    def failing() -> Iterator[int]:
        raise StoppedError("secret.mp4 takes too long.")
        yield 1  # type: ignore[unreachable]

    with caplog.at_level(logging.INFO, "hmdb.page.answers"):
        as_visitor("203.0.113.9", lambda: list(Scheduler(1, 60).run("predict", lambda: (n for n in (1,))))).join(60)
        with pytest.raises(StoppedError):
            list(Scheduler(1, 60).run("timeline", failing))
    first, second = map(json.loads, caplog.messages)
    assert (first["answer"], first["outcome"]) == ("predict", "ok")
    assert (second["answer"], second["outcome"]) == ("timeline", "StoppedError")
    assert set(first) == {"answer", "outcome", "worked", "taken"}


def test_cancel_ends_the_jobs_of_one_owner_and_session() -> None:
    scheduler, gate = Scheduler(4, 60, max_per_address=8), threading.Event()
    ended: dict[str, int] = {}

    def work() -> Iterator[int]:
        yield 1
        assert gate.wait(60)
        check_cancelled()
        yield 2

    def ask(name: str, owner: str) -> Callable[[], None]:
        return lambda: ended.update({name: len(list(scheduler.run("test", work, owner)))})

    threads = [
        as_visitor("10.0.0.1", ask("mine", "left"), "me"),
        as_visitor("10.0.0.1", ask("my other", "right"), "me"),
        as_visitor("10.0.0.1", ask("another's", "left"), "you"),
    ]
    wait_until(lambda: scheduler.pending == 3)
    as_visitor("10.0.0.1", lambda: scheduler.cancel("left"), "me").join()
    gate.set()
    for thread in threads:
        thread.join(60)
    assert ended == {"mine": 1, "my other": 2, "another's": 2}


def test_a_result_after_cancellation_is_dropped() -> None:
    scheduler, owner = Scheduler(1, 60), object()

    def work() -> Iterator[str]:
        scheduler.cancel(owner)  # by the visitor, while it works
        yield "too late"

    assert list(scheduler.run("test", work, owner)) == []


def test_a_part_that_failed_is_yielded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    error = StoppedError("The map took too long.")
    with caplog.at_level(logging.INFO, "hmdb.page.answers"):
        assert list(Scheduler(1, 60).run("answer", lambda: iter_all("prediction", error, "preview"))) == [
            "prediction",
            error,
            "preview",
        ]
    (line,) = map(json.loads, caplog.messages)
    assert line["outcome"] == "StoppedError"


def iter_all(*results: object) -> Iterator[object]:
    yield from results
