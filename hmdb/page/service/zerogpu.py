"""A GPU that is lent for one call at a time, on Spaces that do so (ZeroGPU).

There a call runs in a forked process, so arguments and results travel as pickles: a recognizer does not. A visitor has
so many seconds of GPU a day, and is refused a call that asks for more than are left: so each asks for what such calls
took.
"""

from __future__ import annotations

import math
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr

from hmdb.cancellation import cancellable
from hmdb.errors import HmdbError, StoppedError
from hmdb.page.service.model_loader import BackgroundModel
from hmdb.text import one_line

if TYPE_CHECKING:
    from hmdb.recognizer import Recognizer

T = TypeVar("T")

START, UNIT = 8.0, 1.0  # seconds: guesses, until the first call of a kind has been measured
KEPT = 20  # calls of a kind that are remembered
MARGIN = 1.5
LEAST, MOST = 5, 60  # seconds that are asked for
USABLE = 0.9  # of the lent seconds: a call that takes more than all of them may be killed


class LendingError(HmdbError):
    """ZeroGPU does not lend its GPU, or has taken it back. The text is its own."""


class Estimate:
    """The seconds to ask for, from what the last calls of one kind took: the slowest start and the slowest unit of
    work among them, and a margin.

    A start is short where the process of an earlier call is still there, and long where one is made and the weights
    are moved.
    """

    def __init__(self) -> None:
        self._starts: deque[float] = deque(maxlen=KEPT)
        self._units: deque[float] = deque(maxlen=KEPT)

    def add(self, start: float, work: float, size: int = 1) -> None:
        """Remembers a call.

        Args:
            start: seconds until its work began.
            work: seconds that all its units took.
            size: its units of work, at least 1.
        """
        self._starts.append(start)
        self._units.append(work / size)

    def seconds(self, size: int = 1) -> int:
        """For a call with so many units of work, from LEAST to MOST."""
        slowest = max(self._starts, default=START) + size * max(self._units, default=UNIT)
        return min(max(math.ceil(MARGIN * slowest), LEAST), MOST)


@dataclass
class Call:
    """A job for the process that has the GPU.

    Attributes:
        number: of the recognizer.
        seconds: that are asked for.
        in_time: whether it ends itself shortly before they are over.
        begun: when the GPU was lent, by the machine's monotonic clock: the call is pickled then, and not before.
    """

    number: int
    job: partial[Iterator[Any]]
    seconds: int
    in_time: bool = False
    begun: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        self.begun = time.monotonic()
        return vars(self).copy()


@dataclass(frozen=True)
class Took:
    """The last item of a call: how long it took, in seconds."""

    start: float
    work: float


_models: list[BackgroundModel] = []  # by number, so that the forked process finds what it inherited
_estimates: defaultdict[Callable[..., Any], Estimate] = defaultdict(Estimate)  # by job
_END = object()


def _results(call: Call) -> Iterator[Any]:
    """What a job yields, then the error that ended it if one did, then how long it took.

    Errors are yielded: of one that is raised, only the type's name would come back from the other process.
    """
    now = time.monotonic()
    begun = call.begun = now if call.begun is None else call.begun

    def check() -> None:
        if call.in_time and time.monotonic() - begun > USABLE * call.seconds:
            raise StoppedError(f"This took longer than the {call.seconds} seconds for which ZeroGPU lent its GPU.")

    try:
        results = call.job(_models[call.number].wait())
        while True:
            with cancellable(check):
                result = next(results, _END)
            if result is _END:
                break
            yield result
    except HmdbError as error:
        yield error
    except Exception:
        yield RuntimeError(traceback.format_exc())  # the error itself need not survive pickling
    yield Took(now - begun, time.monotonic() - now)


def _lender() -> Callable[[Call], Iterator[Any]] | None:
    """Runs a call on a lent GPU; None where there is no ZeroGPU."""
    try:
        import spaces
    except ImportError:
        return None
    lend: Callable[[Call], Iterator[Any]] = spaces.GPU(duration=lambda call: call.seconds)(_results)
    return lend


_lend = _lender()  # when this module is imported: ZeroGPU looks for such functions as the page starts


class GpuRecognizer:
    """A recognizer whose network runs where there is a GPU for it."""

    def __init__(self, loading: BackgroundModel) -> None:
        self._loading = loading
        self._number = len(_models)
        _models.append(loading)

    @property
    def state(self) -> str:
        """ "loading", "ready" or "failed"."""
        return self._loading.state

    def settle(self) -> None:
        """Waits until the recognizer is there or cannot be loaded."""
        self._loading.settle()

    def here(self) -> Recognizer:
        """The recognizer itself, for all that needs no network."""
        return self._loading.wait()

    def call(self, job: partial[Iterator[T]]) -> T:
        """What a job with one result yields; see `stream`."""
        (result,) = self.stream(job)
        return result

    def stream(
        self, job: partial[Iterator[T]], size: Callable[[], int] = lambda: 1, *, in_time: bool = False
    ) -> Iterator[T]:
        """What a job yields, as one call. It is measured only if it is asked for all of its results.

        Args:
            job: a function of a module, with all that it takes but the recognizer.
            size: gives its units of work; called only where a GPU is lent.
            in_time: ends it shortly before the time of a GPU that is lent is over.

        Raises:
            LendingError: ZeroGPU does not lend its GPU, or has taken it back.
            StoppedError: it was ended so.
        """
        recognizer = self.here()
        if _lend is None:
            yield from job(recognizer)
            return
        estimate, units = _estimates[job.func], size()
        call = Call(self._number, job, estimate.seconds(units), in_time)
        failed: HmdbError | RuntimeError | None = None
        try:
            for result in _lend(call):
                match result:
                    case HmdbError() | RuntimeError():
                        failed = result
                    case Took(start, work):
                        estimate.add(start, work, units)
                    case _:
                        yield result
        except gr.Error as error:
            if call.begun is not None:  # it was taken back, as a rule since the time was up
                estimate.add(call.seconds, 0)
            raise LendingError(one_line(str(error.message))) from error
        if failed:
            raise failed
