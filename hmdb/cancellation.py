"""Work that ends when it is told to.

A thread cannot be ended from outside, and a large network or a long video takes seconds: so it asks. Attention asks
before each layer, and a video before each request to a decoding process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_this_thread = threading.local()


@contextmanager
def cancellable(check: Callable[[], None]) -> Iterator[None]:
    """Has this thread call `check` wherever it may stop; what that raises ends the work right there."""
    before = getattr(_this_thread, "check", None)
    _this_thread.check = check
    try:
        yield
    finally:
        _this_thread.check = before


def check_cancelled() -> None:
    """
    Raises:
        StoppedError: whoever waits for this work has told it to stop.
    """
    check = getattr(_this_thread, "check", None)
    if check is not None:
        check()
