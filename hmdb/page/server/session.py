"""Who asks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from gradio.context import LocalContext

T = TypeVar("T")
MAX_SESSIONS = 1000  # sessions that are remembered, many more than Gradio keeps


def session_id() -> str:
    """The session of the visitor who is being answered; "" outside of an answer."""
    request = LocalContext.request.get(None)
    return (request.session_hash if request else None) or ""


def client_address() -> str:
    """The address of the visitor who is being answered; "" outside of an answer."""
    request = LocalContext.request.get(None)
    client = request.client if request else None
    return (client.host if client else None) or ""


class PerSession(Generic[T]):
    """Something of each visitor's session, which every event of it sees as it is now: a gr.State is as it was when the
    event began.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, T] = OrderedDict()

    def get(self) -> T | None:
        return self._kept.get(session_id())

    def put(self, value: T) -> None:
        self._kept.pop(session_id(), None)  # the newest is last
        self._kept[session_id()] = value
        while len(self._kept) > MAX_SESSIONS:
            self._kept.popitem(last=False)
