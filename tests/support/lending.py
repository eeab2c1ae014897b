"""A stand-in for Hugging Face's module `spaces`; it lends a GPU as version 0.51.3 does."""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import gradio as gr
import pytest

from hmdb.page.service import zerogpu


class Lending:
    """A visitor's allowance. As in the forked process of ZeroGPU, only what can be pickled comes in and goes out.

    Attributes:
        left: seconds; a call that requests more is refused.
        requested: seconds of each call.
        taken_back: ends each call at its first result, as when its time is up.
    """

    def __init__(self, left: float, *, taken_back: bool = False) -> None:
        self.left, self.taken_back = left, taken_back
        self.requested: list[float] = []

    def gpu(self, duration: Callable[..., float]) -> Callable[..., Any]:
        def lend(task: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
            @functools.wraps(task)
            def call(*arguments: Any) -> Iterator[Any]:
                self.requested.append(duration(*arguments))
                if self.requested[-1] > self.left:
                    raise gr.Error(self.refusal, title="ZeroGPU quota exceeded", print_exception=False)
                for result in task(*copied(arguments)):
                    if self.taken_back:
                        raise gr.Error("GPU task aborted", title="ZeroGPU worker error", print_exception=False)
                    yield copied(result)

            return call

        return lend

    @property
    def refusal(self) -> str:
        request = f"{self.requested[-1]}s requested vs. {self.left:g}s left"
        return f"You have exceeded your free ZeroGPU quota ({request}). Try again in 3:04:00."


def copied(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301


@contextmanager
def lent(left: float = 120, **options: Any) -> Iterator[Lending]:
    """Installs a module `spaces` that lends for the given seconds; no call has been measured yet."""
    lending, module = Lending(left, **options), ModuleType("spaces")
    module.GPU = lending.gpu  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "spaces", module)
        patch.setattr(zerogpu, "_lend", zerogpu._lender())
        patch.setattr(zerogpu, "_estimates", type(zerogpu._estimates)(zerogpu.Estimate))
        yield lending
