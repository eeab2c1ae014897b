"""Sessions that Gradio has dropped."""

from __future__ import annotations

import json

import pytest

from hmdb.page.launch import PageServer
from hmdb.page.server.session import PerSession
from hmdb.page.tabs.base import FORGOTTEN
from tests.support.visitor import Visitor


def test_a_frame_of_a_dropped_session_asks_for_the_video_again(page: PageServer) -> None:
    """Gradio drops the oldest sessions; the values of their components are then None."""
    visitor = Visitor(page.url)
    seeks = [fn for fn in page.demo.fns.values() if fn.name == "seek" and fn.inputs]
    assert seeks
    for fn in seeks:
        ended = visitor.run_event(fn._id, [None] * len(fn.inputs), {"index": 0, "value": "wave"})
        assert FORGOTTEN in json.dumps(ended["output"])


def test_the_sessions_seen_least_recently_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = PerSession[list[str]](list)
    current = ["a"]
    monkeypatch.setattr("hmdb.page.server.session.session_id", lambda: current[0])
    monkeypatch.setattr("hmdb.page.server.session.MAX_SESSIONS", 2)
    for name in ("a", "b", "a", "c"):
        current[0] = name
        lists.get().append(name)
    assert lists.get() == ["c"]
    current[0] = "a"
    assert lists.get() == ["a", "a"]
    current[0] = "b"
    assert lists.get() == []
