"""Gradio without the type stubs that it writes while it is imported."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_type_stubs() -> Iterator[None]:
    """Within it, importing Gradio writes no stubs beside its components.

    It parses the source of each of them for that whenever it starts, which takes a second and finds the stubs that came
    with it. There is no setting against it, but a class without a file is passed over, and so for the time of the
    import its own classes have none.
    """
    file_of = inspect.getfile

    def no_file(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError("no source, so no type stub")
        return file_of(thing)

    inspect.getfile = no_file  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = file_of
