"""Whether new work may come in, and whether old work is still being told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DrainState:
    """Counted on the server's event loop alone; threads may read it, and close it.

    Attributes:
        open: whether new work may come in.
        num_sending: how many requests for answers are open.
    """

    def __init__(self) -> None:
        self.open = True
        self.open_requests = 0

    @contextmanager
    def sending(self) -> Iterator[None]:
        self.open_requests += 1
        try:
            yield
        finally:
            self.open_requests -= 1
