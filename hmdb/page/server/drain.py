"""Draining: refuses new work while open requests finish, before the page shuts down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DrainState:
    """The state of draining. Requests are counted on the server's event loop only; any thread may read and close it.

    Attributes:
        accepts_work: true until draining begins.
        open_requests: requests whose answers are still being sent.
    """

    def __init__(self) -> None:
        self.accepts_work = True
        self.open_requests = 0

    @contextmanager
    def track_request(self) -> Iterator[None]:
        """Counts a request as open within the `with` block."""
        self.open_requests += 1
        try:
            yield
        finally:
            self.open_requests -= 1
