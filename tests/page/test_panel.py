"""What a browser is told of an answer that comes in steps."""

from __future__ import annotations

import gradio as gr

from hmdb.page.panel import Shown, gathered


def test_each_step_tells_all_that_was_shown_before() -> None:
    steps: list[Shown] = [
        {"words": "Looking"},
        {},
        {"film": gr.update(value="a.mp4", visible=True)},
        {"film": gr.update(label="Why")},
    ]
    first, second, third = gathered(steps)
    assert first == {"words": "Looking"}
    assert second == {"words": "Looking", "film": gr.update(value="a.mp4", visible=True)}
    assert third["film"] == gr.update(value="a.mp4", visible=True, label="Why")


def test_a_value_takes_the_place_of_all_before_it() -> None:
    *_, last = gathered(
        [{"json": {"label": "wave"}}, {"json": {"top": []}}, {"words": gr.update(visible=True)}, {"words": ""}]
    )
    assert last == {"json": {"top": []}, "words": ""}
