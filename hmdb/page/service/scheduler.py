"""Who is answered when, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from hmdb.cancellation import cancellable
from hmdb.errors import StoppedError
from hmdb.page.server.metrics import AnswerMetrics, report
from hmdb.page.server.session import client_address, session_id

T = TypeVar("T")
MARGIN_SECONDS = 60.0  # which a step may take longer than it should: a decoder is not asked whether to go on


class BusyError(StoppedError):
    """There are too many who wait already."""


class Job:
    """The answering of one request, which ends when it has worked for so long, or its visitor cancels.

    Attributes:
        address, session: whose it is.
        asker: the part of the page that asked; None for the API.
        asked: when its next step was asked for, by `clock`; None between steps.
    """

    def __init__(
        self, seconds: float, address: str, session: str, asker: object, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.address, self.session, self.asker = address, session, asker
        self.cancelled = False
        self.over = False
        self.asked: float | None = None
        self._seconds, self._clock = seconds, clock
        self._worked = 0.0
        self._since: float | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Counts the time, and lets the work ask whether to go on."""
        self._since = self._clock()
        try:
            with cancellable(self.check):
                self._go_on()
                yield  # the work itself asks about the time, so that it can end with what it has
                self._go_on()
        finally:
            self._worked, self._since = self.worked, None

    @property
    def worked(self) -> float:
        """Seconds; waiting is none of it."""
        return self._worked + (self._clock() - self._since if self._since is not None else 0)

    def check(self) -> None:
        """
        Raises:
            StoppedError: it is over.
        """
        self._go_on()
        if self.worked > self._seconds:
            raise StoppedError(f"This took longer than {self._seconds:g} seconds. Try a shorter video.")

    def _go_on(self) -> None:
        if self.cancelled:
            raise StoppedError("Cancelled.")


class Scheduler:
    """Who is being answered: so many at a time, and each address as often as any other.

    Gradio forgets an event that is cancelled, but not the thread that works on it. That one counts until it ends, at
    the next layer of the network.

    Args:
        at_once: answers that are worked on at a time.
        seconds: that one may be worked on.
        most: visitors who may wait or be answered.
        share: of them from one address.
        ready: returns once there is a model, as waiting for it is no part of anybody's turn.
        clock: seconds, from any moment on.
    """

    def __init__(
        self,
        at_once: int,
        seconds: float,
        *,
        most: int = 32,
        share: int = 8,
        ready: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once, self._seconds = at_once, seconds
        self._most, self._share = most, share
        self._ready, self._clock = ready, clock
        self._changed = threading.Condition()
        self._begun: list[Job] = []  # replaced, never changed, so that it can be read without the lock
        self._moved = clock()  # when a step last began or ended
        self._working = 0
        self._waiting: list[Job] = []
        self._last: dict[str, int] = {}  # when, in turns, an address was last let in
        self._count = 0

    def steps(
        self,
        name: str,
        work: Callable[[], Iterator[T]],
        asker: object = None,
        *,
        ready: Callable[[], object] = lambda: None,
    ) -> Iterator[T]:
        """What `work` yields, each step in turn. Work that is cancelled ends in silence.

        An answer in steps holds no room between them: Gradio may never ask for the next. Then the garbage collector
        ends it there, in the midst of anything; so what ends it between steps takes no lock and writes no log.

        Args:
            asker: by which the visitor can cancel it.
            ready: returns once there is what this work needs besides the model.

        Raises:
            BusyError: too many wait already.
            StoppedError: it took too long.
        """
        turn = self._begin(asker)
        try:
            self._ready()
            ready()
            with AnswerMetrics(name) as seen, closing(work()) as results:  # type: ignore[type-var]
                while True:
                    turn.asked = self._clock()
                    try:
                        with self._room(turn), turn.working():
                            result = next(results)
                    except StopIteration:
                        return
                    except StoppedError:
                        if turn.cancelled:
                            seen.outcome = "cancelled"
                            return
                        raise
                    finally:
                        seen.worked = turn.worked
                    turn.asked = None
                    yield result
        finally:
            turn.over = True
            if turn.asked is not None:
                report()

    def _begin(self, asker: object) -> Job:
        turn = Job(self._seconds, client_address(), session_id(), asker, self._clock)
        with self._changed:
            under_way = [other for other in self._begun if not other.over]
            begun = [other for other in under_way if not other.cancelled]
            if len(begun) >= self._most:
                raise BusyError(f"{len(begun)} answers are under way already. Try again in a minute.")
            if turn.address and sum(other.address == turn.address for other in begun) >= self._share:
                raise BusyError(f"{self._share} answers for you are under way already. Wait for one of them.")
            self._begun = [*under_way, turn]
        return turn

    @contextmanager
    def _room(self, turn: Job) -> Iterator[None]:
        """Waits until there is room for a step of this answer."""
        with self._changed:
            self._waiting.append(turn)
            try:
                while not turn.cancelled and (self._working >= self._at_once or self._next() is not turn):
                    self._changed.wait(1)
            finally:
                self._waiting.remove(turn)
            self._count += 1
            self._last[turn.address] = self._count
            self._forget()
            self._working += 1
            self._moved = self._clock()
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._moved = self._clock()
                self._changed.notify_all()

    def _next(self) -> Job:
        """Of those who wait, the first of the address that was let in longest ago."""
        return min(self._waiting, key=lambda turn: self._last.get(turn.address, 0))

    def _forget(self) -> None:
        if len(self._last) > 1000:
            for address in sorted(self._last, key=self._last.__getitem__)[:500]:
                del self._last[address]

    @property
    def under_way(self) -> int:
        """Answers that wait or are worked on."""
        return sum(not turn.over for turn in self._begun)

    @property
    def stuck(self) -> bool:
        """Whether steps are asked for, and none has begun or ended for longer than an answer may take."""
        asked = [turn.asked for turn in self._begun if not turn.over]
        oldest = min((moment for moment in asked if moment is not None), default=None)
        limit = self._seconds + MARGIN_SECONDS
        return oldest is not None and self._clock() - max(oldest, self._moved) > limit

    def cancel(self, asker: object) -> None:
        """Ends what is under way for this visitor and asker."""
        with self._changed:
            for turn in self._begun:
                if turn.session == session_id() and turn.asker is asker:
                    turn.cancelled = True
            self._changed.notify_all()
