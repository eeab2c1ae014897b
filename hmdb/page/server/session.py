"""Session id and client address of the current request."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from gradio.context import LocalContext
from starlette.requests import Request

T = TypeVar("T")
MAX_SESSIONS = 1000  # that are remembered, many more than Gradio keeps


def session_id() -> str:
    """The Gradio session of the current event; "" outside of one."""
    request = LocalContext.request.get(None)
    return (request.session_hash if request else None) or ""


def client_address() -> str:
    """The client's address in the current event; "" outside of one."""
    request = LocalContext.request.get(None)
    client = request.client if request else None
    return (client.host if client else None) or ""


def request_address(request: Request) -> str:
    """The client's address in an HTTP request; "" if unknown."""
    return request.client.host if request.client else ""


class PerSession(Generic[T]):
    """A value for each session, which every event sees in its current state.

    A gr.State is a snapshot taken when the event began.
    """

    def __init__(self, create: Callable[[], T]) -> None:
        self._create = create
        self._values: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self) -> T:
        """Returns the current session's value, a new one for a session that has none or was forgotten."""
        with self._lock:
            value = self._values.pop(session_id(), None) or self._create()
            self._values[session_id()] = value  # the newest is last
            while len(self._values) > MAX_SESSIONS:
                self._values.popitem(last=False)
            return value
