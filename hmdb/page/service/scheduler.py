"""Fair scheduling of answers, with per-address limits, deadlines and cancellation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

from hmdb.cancellation import cancellable
from hmdb.errors import HmdbError, StoppedError
from hmdb.page.server.metrics import AnswerMetrics, report
from hmdb.page.server.session import client_address, session_id

T = TypeVar("T")
MARGIN_SECONDS = 60.0  # a step may overrun by this much before its next cancellation point
MAX_ADDRESSES = 1000  # client addresses whose last turn is remembered


class BusyError(StoppedError):
    """Too many answers are pending already."""


class Job:
    """One answer in progress. It ends when its working time is used up or its visitor cancels it.

    Attributes:
        address, session: of the client.
        owner: the part of the page that asked; None for the API.
        requested: when its next step was requested, by `clock`; None between steps.
        finished: no further step will be requested.
    """

    def __init__(
        self,
        timeout_seconds: float,
        address: str,
        session: str,
        owner: object,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address, self.session, self.owner = address, session, owner
        self.cancelled = False
        self.finished = False
        self.requested: float | None = None
        self._timeout_seconds, self._clock = timeout_seconds, clock
        self._earlier_seconds = 0.0
        self._step_began: float | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Measures a step, and stops it at its next cancellation point if the job must end."""
        self._step_began = self._clock()
        try:
            with cancellable(self.check):
                self._check_cancelled()
                yield  # the deadline is checked inside the work alone, so that it can end with a partial result
                self._check_cancelled()
        finally:
            self._earlier_seconds, self._step_began = self.work_seconds, None

    @property
    def work_seconds(self) -> float:
        """Seconds of work so far; waiting does not count."""
        step = self._clock() - self._step_began if self._step_began is not None else 0
        return self._earlier_seconds + step

    def check(self) -> None:
        """
        Raises:
            StoppedError: the job was cancelled or is past its deadline.
        """
        self._check_cancelled()
        if self.work_seconds > self._timeout_seconds:
            raise StoppedError(f"This took longer than {self._timeout_seconds:g} seconds. Try a shorter video.")

    def _check_cancelled(self) -> None:
        if self.cancelled:
            raise StoppedError("Cancelled.")


class Scheduler:
    """Runs at most `concurrency` jobs at a time and serves client addresses round-robin.

    Gradio forgets a cancelled event, but not the thread that works on it: that thread keeps its slot until it reaches
    its next cancellation point, the next layer of the network.

    Args:
        concurrency: steps that run at the same time.
        timeout_seconds: working time of one job.
        max_pending: jobs that wait or run.
        max_per_address: of these, from one client address.
        wait_until_ready: blocks until the model is loaded; that wait does not count towards the deadline.
        clock: seconds since any moment.
    """

    def __init__(
        self,
        concurrency: int,
        timeout_seconds: float,
        *,
        max_pending: int = 32,
        max_per_address: int = 8,
        wait_until_ready: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._concurrency, self._timeout_seconds = concurrency, timeout_seconds
        self._max_pending, self._max_per_address = max_pending, max_per_address
        self._wait_until_ready, self._clock = wait_until_ready, clock
        self._changed = threading.Condition()
        self._jobs: list[Job] = []  # replaced, never changed, so that it can be read without the lock
        self._last_change = clock()  # when a step last began or ended
        self._running = 0
        self._waiting: list[Job] = []
        self._last_turn: dict[str, int] = {}  # by address, counted in steps
        self._num_turns = 0

    def run(
        self,
        name: str,
        work: Callable[[], Iterator[T]],
        owner: object = None,
        *,
        wait_until_ready: Callable[[], object] = lambda: None,
    ) -> Iterator[T]:
        """Yields the results of `work`, waiting for a slot before each. A cancelled job ends without an error.

        An HmdbError that the work yields, not raises, is a part of the answer that failed; the metrics count it.

        A job holds no slot between its steps: Gradio may never ask for the next. Then the garbage collector ends it at
        any point of this thread's work, so ending it between steps takes no lock and writes no log line.

        Args:
            name: of the job in metrics and log.
            owner: identifies the job for `cancel`.
            wait_until_ready: blocks until whatever this job needs besides the model is there.

        Raises:
            BusyError: too many jobs are pending.
            StoppedError: it is past its deadline.
        """
        job = self._admit(owner)
        try:
            self._wait_until_ready()
            wait_until_ready()
            with AnswerMetrics(name) as metrics, closing(work()) as results:  # type: ignore[type-var]
                while True:
                    job.requested = self._clock()
                    try:
                        with self._slot(job), job.working():
                            result = next(results)
                    except StopIteration:
                        return
                    except StoppedError:
                        if job.cancelled:
                            metrics.outcome = "cancelled"
                            return
                        raise
                    finally:
                        metrics.work_seconds = job.work_seconds
                    if isinstance(result, HmdbError):
                        metrics.outcome = type(result).__name__
                    job.requested = None
                    yield result
        finally:
            job.finished = True
            if job.requested is not None:
                report()

    def _admit(self, owner: object) -> Job:
        job = Job(self._timeout_seconds, client_address(), session_id(), owner, self._clock)
        with self._changed:
            unfinished = [other for other in self._jobs if not other.finished]
            pending = [other for other in unfinished if not other.cancelled]
            if len(pending) >= self._max_pending:
                raise BusyError(f"{len(pending)} answers are already in progress. Try again in a minute.")
            if job.address and sum(other.address == job.address for other in pending) >= self._max_per_address:
                raise BusyError(
                    f"{self._max_per_address} of your answers are already in progress. Wait for one of them."
                )
            self._jobs = [*unfinished, job]
        return job

    @contextmanager
    def _slot(self, job: Job) -> Iterator[None]:
        """Waits for the job's turn and for one of the `concurrency` slots, and holds it."""
        with self._changed:
            self._waiting.append(job)
            try:
                while not job.cancelled and (self._running >= self._concurrency or self._next() is not job):
                    self._changed.wait(1)
            finally:
                self._waiting.remove(job)
            self._num_turns += 1
            self._last_turn[job.address] = self._num_turns
            self._forget_addresses()
            self._running += 1
            self._last_change = self._clock()
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._last_change = self._clock()
                self._changed.notify_all()

    def _next(self) -> Job:
        """The first waiting job of the address that was served longest ago."""
        return min(self._waiting, key=lambda job: self._last_turn.get(job.address, 0))

    def _forget_addresses(self) -> None:
        if len(self._last_turn) > MAX_ADDRESSES:
            for address in sorted(self._last_turn, key=self._last_turn.__getitem__)[: MAX_ADDRESSES // 2]:
                del self._last_turn[address]

    @property
    def pending(self) -> int:
        """Number of jobs that wait or run."""
        return sum(not job.finished for job in self._jobs)

    @property
    def stuck(self) -> bool:
        """True when steps are requested, and none has begun or ended for longer than an answer may take."""
        requests = [job.requested for job in self._jobs if not job.finished]
        oldest = min((moment for moment in requests if moment is not None), default=None)
        limit = self._timeout_seconds + MARGIN_SECONDS
        return oldest is not None and self._clock() - max(oldest, self._last_change) > limit

    def cancel(self, owner: object) -> None:
        """Cancels the current visitor's jobs that this owner started."""
        with self._changed:
            for job in self._jobs:
                if job.session == session_id() and job.owner is owner:
                    job.cancelled = True
            self._changed.notify_all()
