"""A GPU that is lent for one answer at a time, on Spaces that do so (ZeroGPU)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from hmdb.errors import HmdbError
from hmdb.page.model import Loading

if TYPE_CHECKING:
    from hmdb.clips.clip import Clip
    from hmdb.explain.steps import PatchAttention
    from hmdb.recognizer import Recognizer
    from hmdb.results import Explanation, Faithfulness, Prediction, Timeline

P = ParamSpec("P")
T = TypeVar("T")

GPU_SECONDS = 60  # for which ZeroGPU lends its GPU to one answer


def on_gpu(function: Callable[P, T]) -> Callable[P, T]:
    """The function, on a GPU that is lent for its duration, on Spaces that lend one (ZeroGPU).

    There it runs in a forked process, so arguments and results travel as pickles: a recognizer does not.
    """
    try:
        import spaces
    except ImportError:
        return function
    lent: Callable[P, T] = spaces.GPU(duration=GPU_SECONDS)(function)
    return lent


_loadings: list[Loading] = []  # by number, so that the forked process finds what it inherited


@on_gpu
def _predict(number: int, clip: Clip, top_k: int) -> Prediction | HmdbError:
    return _or_error(lambda: _loadings[number].wait().predict(clip, top_k=top_k))


@on_gpu
def _explain(number: int, source: Clip | Prediction, label: str | None, kind: str) -> Explanation | HmdbError:
    return _or_error(lambda: _loadings[number].wait().explain(source, label=label, kind=kind))


@on_gpu
def _faithfulness(number: int, explanation: Explanation) -> Faithfulness | HmdbError:
    return _or_error(lambda: _loadings[number].wait().faithfulness(explanation))


@on_gpu
def _patch_attention(number: int, explanation: Explanation) -> PatchAttention | HmdbError:
    return _or_error(lambda: _loadings[number].wait().patch_attention(explanation))


@on_gpu
def _follow(number: int, path: str, max_windows: int) -> Iterator[Timeline | HmdbError]:
    try:
        yield from _loadings[number].wait().follow(path, max_windows=max_windows)
    except HmdbError as error:
        yield error


def _or_error(work: Callable[[], T]) -> T | HmdbError:
    """The result, or the error as one: of an exception, only its type would come back from the other process."""
    try:
        return work()
    except HmdbError as error:
        return error


class Lent:
    """A recognizer whose network runs where there is a GPU for it."""

    def __init__(self, loading: Loading) -> None:
        self._loading = loading
        self._number = len(_loadings)
        _loadings.append(loading)

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

    def predict(self, clip: Clip, *, top_k: int = 5) -> Prediction:
        self.here()
        return raised(_predict(self._number, clip, top_k))

    def explain(self, source: Clip | Prediction, *, label: str | None, kind: str = "class") -> Explanation:
        self.here()
        return raised(_explain(self._number, source, label, kind))

    def faithfulness(self, explanation: Explanation) -> Faithfulness:
        self.here()
        return raised(_faithfulness(self._number, explanation))

    def patch_attention(self, explanation: Explanation) -> PatchAttention:
        self.here()
        return raised(_patch_attention(self._number, explanation))

    def follow(self, path: str, *, max_windows: int) -> Iterator[Timeline]:
        self.here()
        yield from map(raised, _follow(self._number, path, max_windows))


def raised(result: T | HmdbError) -> T:
    """A result, unless it is an error: that is raised."""
    if isinstance(result, HmdbError):
        raise result
    return result
