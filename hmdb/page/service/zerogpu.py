"""Model calls on Spaces that lend a GPU for one call at a time (ZeroGPU).

There a call runs in a forked process, so its arguments and results are pickled; a recognizer cannot be. Each visitor
has a daily allowance of GPU seconds, and a call that requests more than are left is refused. So each call requests what
earlier calls of its kind took.
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

FIRST_START_SECONDS, FIRST_UNIT_SECONDS = 8.0, 1.0  # guesses, until a call of the kind has been measured
REMEMBERED_CALLS = 20  # of each kind
SAFETY_FACTOR = 1.5
MIN_SECONDS, MAX_SECONDS = 5, 60  # that a call requests
USABLE_SHARE = 0.9  # of the requested seconds: a call that uses them all may be killed


class LendingError(HmdbError):
    """ZeroGPU refused its GPU or took it back. The text is ZeroGPU's own."""


@dataclass(frozen=True)
class CallEnd:
    """The last item of a call.

    Attributes:
        start_seconds: from when the GPU was lent until the work began.
        work_seconds: of all its units of work.
        error: that ended it. It travels as a value: of a raised error only the type's name would come back.
    """

    start_seconds: float
    work_seconds: float
    error: HmdbError | RuntimeError | None = None


class Estimate:
    """Seconds to request: the slowest start and the slowest unit of work among the last calls, times SAFETY_FACTOR.

    A start is short where the process of an earlier call still runs, and long where a new one is forked and the weights
    are moved.
    """

    def __init__(self) -> None:
        self._starts: deque[float] = deque(maxlen=REMEMBERED_CALLS)
        self._units: deque[float] = deque(maxlen=REMEMBERED_CALLS)

    def add(self, end: CallEnd, size: int = 1) -> None:
        """Remembers a call of `size` units of work."""
        self._starts.append(end.start_seconds)
        self._units.append(end.work_seconds / size)

    def seconds(self, size: int = 1) -> int:
        """Seconds for a call of `size` units of work, from MIN_SECONDS to MAX_SECONDS."""
        slowest = max(self._starts, default=FIRST_START_SECONDS) + size * max(self._units, default=FIRST_UNIT_SECONDS)
        return min(max(math.ceil(SAFETY_FACTOR * slowest), MIN_SECONDS), MAX_SECONDS)


@dataclass
class Call:
    """A job for the process that has the GPU.

    Attributes:
        number: of the recognizer.
        seconds: requested.
        stop_in_time: ends the job shortly before these seconds are over.
        begun: when the GPU was lent, by the machine's monotonic clock; set on pickling, which happens just then.
    """

    number: int
    job: partial[Iterator[Any]]
    seconds: int
    stop_in_time: bool = False
    begun: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        self.begun = time.monotonic()
        return vars(self).copy()


_models: list[BackgroundModel] = []  # by number, so that the forked process finds the one it inherited
_estimates: defaultdict[Callable[..., Any], Estimate] = defaultdict(Estimate)  # by job


def _run(call: Call) -> Iterator[Any]:
    """Yields the results of the job, then a CallEnd."""
    now = time.monotonic()
    begun = call.begun = now if call.begun is None else call.begun

    def check() -> None:
        if call.stop_in_time and time.monotonic() - begun > USABLE_SHARE * call.seconds:
            raise StoppedError(f"This took longer than the {call.seconds} seconds for which ZeroGPU lent its GPU.")

    error: HmdbError | RuntimeError | None = None
    try:
        results = call.job(_models[call.number].wait())
        while True:
            with cancellable(check):
                result = next(results)
            yield result
    except StopIteration:
        pass
    except HmdbError as raised:
        error = raised
    except Exception:
        error = RuntimeError(traceback.format_exc())  # the error itself need not survive pickling
    yield CallEnd(now - begun, time.monotonic() - now, error)


def _lender() -> Callable[[Call], Iterator[Any]] | None:
    """The function that runs a call on a lent GPU; None where there is no ZeroGPU."""
    try:
        import spaces
    except ImportError:
        return None
    lend: Callable[[Call], Iterator[Any]] = spaces.GPU(duration=lambda call: call.seconds)(_run)
    return lend


_lend = _lender()  # at import: ZeroGPU looks for such functions as the page starts


class GpuRecognizer:
    """A recognizer whose model runs on a lent GPU where there is ZeroGPU, and in this process elsewhere."""

    def __init__(self, model: BackgroundModel) -> None:
        self._model = model
        self._number = len(_models)
        _models.append(model)

    @property
    def state(self) -> str:
        """ "loading", "ready" or "failed"."""
        return self._model.state

    def wait_done(self) -> None:
        """Blocks until the model is loaded or has failed to load."""
        self._model.wait_done()

    def local(self) -> Recognizer:
        """The recognizer in this process, for work that needs no GPU."""
        return self._model.wait()

    def call(self, job: partial[Iterator[T]]) -> T:
        """Returns the only result of a job; see `stream`."""
        (result,) = self.stream(job)
        return result

    def stream(
        self, job: partial[Iterator[T]], size: Callable[[], int] = lambda: 1, *, stop_in_time: bool = False
    ) -> Iterator[T]:
        """Yields the results of a job, which is one call. Only calls that are read to their end are measured.

        Args:
            job: a function of a module with all its arguments but the recognizer.
            size: returns its units of work; called only where a GPU is lent.
            stop_in_time: ends the job shortly before the requested seconds are over.

        Raises:
            LendingError: ZeroGPU refused its GPU or took it back.
            StoppedError: `stop_in_time` ended the job.
        """
        recognizer = self.local()
        if _lend is None:
            yield from job(recognizer)
            return
        estimate, units = _estimates[job.func], size()
        call = Call(self._number, job, estimate.seconds(units), stop_in_time)
        error: HmdbError | RuntimeError | None = None
        try:
            for result in _lend(call):
                if isinstance(result, CallEnd):
                    estimate.add(result, units)
                    error = result.error
                else:
                    yield result
        except gr.Error as refusal:
            if call.begun is not None:  # taken back, usually since the time was up
                estimate.add(CallEnd(call.seconds, 0))
            raise LendingError(one_line(str(refusal.message))) from refusal
        if error:
            raise error
