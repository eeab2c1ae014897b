"""The requests of one visitor to one panel: a newer video replaces them all, so that no older answer follows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

Updates = dict[Any, Any]  # components and their new values
Work = Callable[[], Iterator[Updates]]

VIDEO, LABEL, WALKTHROUGH = "video", "label", "walkthrough"


class RequestQueue:
    """At most one pending request of each kind, in the order in which they came.

    The browser numbers its requests, because two of them may reach the server in the wrong order.

    Attributes:
        path: of the video that was chosen last; None after it was cleared.
    """

    def __init__(self) -> None:
        self.path: str | None = None
        self._newest = 0.0
        self._pending: dict[str, Work] = {}
        self._lock = threading.Lock()

    def put_video(self, number: float, path: str | None, work: Work, cancel: Callable[[], object]) -> bool:
        """Replaces all requests, after `cancel` has stopped the work on them. Returns False for one that came late."""
        with self._lock:
            if number < self._newest:
                return False
            cancel()
            self._newest, self.path = number, path
            self._pending = {VIDEO: work}
            return True

    def put(self, number: float, kind: str, work: Work, cancel: Callable[[], object] = lambda: None) -> None:
        """Adds a request about the current video, in place of one of its kind; one about an older video is dropped."""
        with self._lock:
            if number >= self._newest:
                cancel()
                self._pending.pop(kind, None)
                self._pending[kind] = work

    def take(self) -> Work | None:
        """Returns the next request, or None."""
        with self._lock:
            return self._pending.pop(next(iter(self._pending))) if self._pending else None

    @property
    def has_video(self) -> bool:
        """True while a video waits, so that the work on the one before it is in vain."""
        return VIDEO in self._pending
