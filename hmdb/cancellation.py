"""Cooperative cancellation of long-running work.

A thread cannot be stopped from outside, and a large network or a long video takes seconds. So the work itself calls
`check_cancelled`: attention before each layer, and a video while it waits for a decoding process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_this_thread = threading.local()


@contextmanager
def cancellable(check: Callable[[], None]) -> Iterator[None]:
    """Makes `check_cancelled` call `check` in this thread; an exception raised by `check` stops the work there."""
    before = getattr(_this_thread, "check", None)
    _this_thread.check = check
    try:
        yield
    finally:
        _this_thread.check = before


def check_cancelled() -> None:
    """Raises what the current thread's `cancellable` check raises, `StoppedError` as a rule."""
    check = getattr(_this_thread, "check", None)
    if check is not None:
        check()
