"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    """Returns once it is so.

    Args:
        seconds: that end a hang, and are no measure of anything.

    Raises:
        TimeoutError: it is not so after all of them.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {seconds:g} s")
        time.sleep(0.02)
