"""Sessions that Gradio has dropped."""

from __future__ import annotations

import json

from hmdb.page.launch import PageServer
from hmdb.page.tabs.base import FORGOTTEN
from tests.support.visitor import Visitor


def test_events_of_dropped_sessions_ask_for_the_video_again(page: PageServer) -> None:
    """Gradio drops the oldest sessions; the values of their components are then None."""
    visitor, asked = Visitor(page.url), set()
    for fn in page.demo.fns.values():
        if fn.name in ("explain_label", "show_walkthrough", "seek") and fn.inputs:
            ended = visitor.run_event(fn._id, [None] * len(fn.inputs), {"index": 0, "value": "wave"})
            assert FORGOTTEN in json.dumps(ended["output"])
            asked.add(fn.name)
    assert asked == {"explain_label", "show_walkthrough", "seek"}
