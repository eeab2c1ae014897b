"""Who is answered when, and for how long."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from hmdb.errors import StoppedError
from hmdb.page.visitors import session


class Turn:
    """The answering of one request, which ends at its deadline or when its visitor cancels."""

    def __init__(self, session: str, seconds: float) -> None:
        self.session = session
        self.cancelled = False
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def check(self) -> None:
        """
        Raises:
            StoppedError: it is over.
        """
        if self.cancelled:
            raise StoppedError("Cancelled.")
        if time.monotonic() > self._deadline:
            raise StoppedError(f"This took longer than {self._seconds:g} seconds. Try a shorter video.")


class Turns:
    """Who is being answered: so many at a time.

    Gradio forgets an event that is cancelled, but not the thread that works on it. That one counts
    until it ends, at the next layer of the network.
    """

    def __init__(self, at_once: int, seconds: float) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._seconds = seconds
        self._begun: weakref.WeakSet[Turn] = weakref.WeakSet()

    def begin(self) -> Turn:
        turn = Turn(session(), self._seconds)
        self._begun.add(turn)
        return turn

    @contextmanager
    def step(self, turn: Turn) -> Iterator[None]:
        """Waits until there is room for a step of this answer, and lets the network ask whether to go on.

        An answer in steps holds no room between them: Gradio may never ask for the next.
        """
        from hmdb.model.attention import stoppable

        with self._free, stoppable(turn.check):
            yield

    def cancel(self) -> None:
        """Ends what is under way for this visitor."""
        for turn in list(self._begun):
            if turn.session == session():
                turn.cancelled = True
