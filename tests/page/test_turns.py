"""Who is answered when: shares, order, deadlines."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gradio.context import LocalContext

from hmdb.errors import StoppedError
from hmdb.page.turns import BusyError, Turns
from hmdb.stopping import check_stopped


def as_visitor(address: str, work: Callable[[], Any], session: str = "") -> threading.Thread:
    """Work in a thread of its own, for a visitor."""

    def run() -> None:
        LocalContext.request.set(SimpleNamespace(client=SimpleNamespace(host=address), session_hash=session))  # type: ignore[arg-type]
        work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_address_that_asks_a_lot_makes_nobody_else_wait_for_all_of_it() -> None:
    turns, order, begun = Turns(1, 60, most=40, share=20), list[str](), threading.Barrier(22)

    def work(name: str) -> Iterator[None]:
        time.sleep(0.02)
        order.append(name)
        yield

    def ask(name: str) -> None:
        begun.wait()
        if name == "modest":
            time.sleep(0.1)
        list(turns.steps("test", lambda: work(name)))

    threads = [as_visitor("10.0.0.1", lambda: ask("greedy")) for _ in range(20)]
    threads += [as_visitor(f"10.0.0.{n}", lambda: ask("modest")) for n in (2, 3)]
    for thread in threads:
        thread.join(20)
    assert len(order) == 22
    assert [place for place, name in enumerate(order) if name == "modest"][-1] < 12


def test_an_address_has_its_share_and_no_more() -> None:
    turns, gate = Turns(1, 60, most=6, share=4), threading.Event()
    said: list[str] = []

    def work() -> Iterator[None]:
        gate.wait(20)
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
        thread.join(20)
    assert turns.under_way == 0


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_only_work_counts_and_work_ends_at_its_deadline() -> None:
    turns = Turns(1, 0.3)

    def slow_visitor() -> Iterator[int]:
        yield 1
        yield 2

    steps = turns.steps("test", slow_visitor)
    assert next(steps) == 1
    time.sleep(0.5)
    assert next(steps) == 2

    def endless() -> Iterator[int]:
        while True:
            check_stopped()
            time.sleep(0.01)
        yield 1  # type: ignore[unreachable]

    with pytest.raises(StoppedError, match=r"longer than 0\.3 seconds"):
        list(turns.steps("test", endless))


def test_reading_a_video_ends_at_the_deadline_too(video: Any) -> None:
    from hmdb.video import open_video

    def read() -> Iterator[int]:
        opened = open_video(video)
        while True:
            opened.frames_at([0])
        yield 1  # type: ignore[unreachable]

    began = time.monotonic()
    with pytest.raises(StoppedError, match="longer than 1 seconds"):
        list(Turns(1, 1).steps("test", read))
    assert time.monotonic() - began < 5


def test_who_leaves_makes_room() -> None:
    turns = Turns(1, 60, most=1)

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
        as_visitor("203.0.113.9", lambda: list(Turns(1, 60).steps("predict", lambda: (n for n in (1,))))).join(10)
        with pytest.raises(StoppedError):
            list(Turns(1, 60).steps("timeline", failing))
    first, second = map(json.loads, caplog.messages)
    assert (first["answer"], first["outcome"]) == ("predict", "ok")
    assert (second["answer"], second["outcome"]) == ("timeline", "StoppedError")
    assert set(first) == {"answer", "outcome", "worked", "taken"}


def test_a_visitor_cancels_what_one_part_of_the_page_asked_for() -> None:
    turns, gate = Turns(4, 60, share=8), threading.Event()
    ended: dict[str, int] = {}

    def work() -> Iterator[int]:
        yield 1
        assert gate.wait(20)
        check_stopped()
        yield 2

    def ask(name: str, asker: str) -> Callable[[], None]:
        return lambda: ended.update({name: len(list(turns.steps("test", work, asker)))})

    threads = [
        as_visitor("10.0.0.1", ask("mine", "left"), "me"),
        as_visitor("10.0.0.1", ask("my other", "right"), "me"),
        as_visitor("10.0.0.1", ask("another's", "left"), "you"),
    ]
    deadline = time.monotonic() + 20
    while turns.under_way < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    as_visitor("10.0.0.1", lambda: turns.cancel("left"), "me").join()
    gate.set()
    for thread in threads:
        thread.join(20)
    assert ended == {"mine": 1, "my other": 2, "another's": 2}


def test_what_is_found_after_it_was_cancelled_is_not_shown() -> None:
    turns, asker = Turns(1, 60), object()

    def work() -> Iterator[str]:
        turns.cancel(asker)  # by the visitor, while it works
        yield "too late"

    assert list(turns.steps("test", work, asker)) == []
