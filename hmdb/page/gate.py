"""Whether new work may come in, and whether old work is still being told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Threads may share it.

    Attributes:
        open: whether new work may come in.
        num_sending: how many requests for answers are open.
    """

    def __init__(self) -> None:
        self.open = True
        self.num_sending = 0
        self._lock = threading.Lock()

    @contextmanager
    def sending(self) -> Iterator[None]:
        with self._lock:
            self.num_sending += 1
        try:
            yield
        finally:
            with self._lock:
                self.num_sending -= 1
