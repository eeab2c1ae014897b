"""A GPU that is lent for one answer at a time, on Spaces that do so (ZeroGPU)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hmdb.errors import HmdbError
from hmdb.page.model import Loading

if TYPE_CHECKING:
    from hmdb.recognizer import Recognizer
    from hmdb.results import Timeline

GPU_SECONDS = 60  # for which ZeroGPU lends its GPU to one answer


def on_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, on a GPU that is lent for its duration, on Spaces that lend one (ZeroGPU).

    There it runs in a forked process, so arguments and results travel as pickles: a recognizer does not.
    """
    try:
        import spaces
    except ImportError:
        return function
    lent: Callable[..., Any] = spaces.GPU(duration=GPU_SECONDS)(function)
    return lent


_loadings: list[Loading] = []  # by number, so that the forked process finds what it inherited


@on_gpu
def _ask(number: int, method: str, /, *arguments: Any, **options: Any) -> Any:
    try:
        return getattr(_loadings[number].wait(), method)(*arguments, **options)
    except HmdbError as error:  # as a result: of an exception, only its type would come back from the other process
        return error


@on_gpu
def _follow(number: int, *arguments: Any, **options: Any) -> Iterator[Any]:
    try:
        yield from _loadings[number].wait().follow(*arguments, **options)
    except HmdbError as error:
        yield error


class Lent:
    """A recognizer whose network runs where there is a GPU for it."""

    def __init__(self, loading: Loading) -> None:
        self._loading = loading
        self._number = len(_loadings)
        _loadings.append(loading)

    def here(self) -> Recognizer:
        """The recognizer itself, for all that needs no network."""
        return self._loading.wait()

    def ask(self, method: str, /, *arguments: Any, **options: Any) -> Any:
        """What a method of the recognizer returns."""
        self.here()
        return raised(_ask(self._number, method, *arguments, **options))

    def follow(self, *arguments: Any, **options: Any) -> Iterator[Timeline]:
        self.here()
        yield from map(raised, _follow(self._number, *arguments, **options))


def raised(result: Any) -> Any:
    """A result, unless it is an error: that is raised."""
    if isinstance(result, HmdbError):
        raise result
    return result
