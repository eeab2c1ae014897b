"""Imports Gradio without the type stubs that it would write. Must itself not import Gradio."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_type_stubs() -> Iterator[None]:
    """Keeps Gradio from generating type stubs while it is imported within the `with` block.

    Each start parses the source of every component, which takes a second, to find the stubs that are already
    installed. No setting prevents it, but classes without a file are skipped, so Gradio's classes have none here.
    """
    original = inspect.getfile

    def getfile(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError("no source, so no type stub")
        return original(thing)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = original
