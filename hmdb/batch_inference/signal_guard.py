"""SIGTERM and Ctrl-C during a job: they interrupt the wait for rows, never the writing of a part."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pyarrow as pa


class Interrupt(BaseException):
    """A signal ended the wait for rows.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class SignalGuard:
    """Handles the signals while its context lasts; a second signal ends the process at once.

    Outside the main thread, which alone can handle signals, it does nothing.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._waiting = False
        self._previous_handlers: dict[int, object] = {}

    def __enter__(self) -> SignalGuard:
        if threading.current_thread() is threading.main_thread():
            self._previous_handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def next_rows(self, rows: Iterator[pa.Table]) -> pa.Table | None:
        """The next rows; None at the end.

        Raises:
            Interrupt: a signal came during this call or since the last one.
        """
        for number in self._previous_handlers:
            if signal.getsignal(number) != self._handle and self._number is None:
                signal.signal(number, self._handle)  # Ray has installed its own
        if self._number is not None:
            raise Interrupt(self._number)
        self._waiting = True
        try:
            return next(rows, None)
        finally:
            self._waiting = False

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._number is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._number = number
        if self._waiting:
            raise Interrupt(number)
