"""Waiting for another thread or process, and a clock that tests set."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_SECONDS = 120.0  # ends a hang; no test measures it


class Clock:
    """A clock that shows `now`, which tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def wait_until(condition: Callable[[], bool], seconds: float = LIMIT_SECONDS) -> None:
    """Waits for a condition.

    Args:
        seconds: end a hang; they measure nothing.

    Raises:
        TimeoutError: the condition stayed false.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the condition stayed false for {seconds:g} s")
        time.sleep(0.02)
