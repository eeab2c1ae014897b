"""What a browser is told of an answer that comes in steps."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from hmdb.errors import VideoError
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.model_loader import as_background
from hmdb.page.settings import Settings
from hmdb.page.tabs.base import Panel, Updates, cumulative, drop_zone, video_player
from hmdb.page.tabs.long_video import TimelinePanel
from hmdb.page.tabs.video import AnswerPanel
from hmdb.recognizer import Recognizer
from tests.page.conftest import SETTINGS
from tests.support.clips import moving_bar, write_mp4


def test_each_step_tells_all_that_was_shown_before() -> None:
    steps: list[Updates] = [
        {"words": "Looking"},
        {},
        {"film": gr.update(value="a.mp4", visible=True)},
        {"film": gr.update(label="Why")},
    ]
    first, second, third = cumulative(steps, "words")
    assert first == {"words": "Looking"}
    assert second == {"words": "Looking", "film": gr.update(value="a.mp4", visible=True)}
    assert third["film"] == gr.update(value="a.mp4", visible=True, label="Why")


def test_a_value_takes_the_place_of_all_before_it() -> None:
    *_, last = cumulative(
        [{"json": {"label": "wave"}}, {"json": {"top": []}}, {"words": gr.update(visible=True)}, {"words": ""}],
        "words",
    )
    assert last == {"json": {"top": []}, "words": ""}


class Echo(Panel):
    """Answers with the path."""

    def __init__(self) -> None:
        do: Any = SimpleNamespace(cancel=lambda asker: None)
        super().__init__(do, {}, "Choose one.")
        self.player, self.bars = gr.Video(), gr.Label()
        self.empty = {self.bars: None}

    def steps(self, path: str) -> Iterator[Updates]:
        if path == "bad":
            raise VideoError("bad is no video.")
        yield {self.words: path}
        yield {self.words: f"{path}!"}


@pytest.fixture
def panel() -> Echo:
    with gr.Blocks():
        return Echo()


def said(panel: Echo, path: str) -> list[Any]:
    return [step[panel.words] for step in panel.run(path) if panel.words in step]


def test_what_was_chosen_last_is_answered_once(panel: Echo) -> None:
    for path in ("a", "b"):
        panel.take(path)
    assert said(panel, "a") == ["b", "b!"]  # an event of "a" that came late
    assert said(panel, "b") == [gr.skip()]  # of nothing at all Gradio would make None everywhere
    panel.take(None)
    assert said(panel, "b") == [gr.skip()]


def test_an_answer_ends_when_something_else_is_chosen(panel: Echo) -> None:
    panel.take("a")
    answer = panel.run("a")
    assert [next(answer).get(panel.words) for _ in range(2)] == [None, "a"]
    panel.take("b")
    assert list(answer) == []


def test_an_error_empties_what_came_late(panel: Echo) -> None:
    panel.take("bad")
    *_, step = panel.run("bad")
    assert step[panel.bars] is None
    assert "bad is no video." in step[panel.words]


@pytest.mark.parametrize("found", [0, 2])  # windows, before a visitor stopped it
def test_a_timeline_that_is_stopped_keeps_saying_so(found: int, long_clip: Path, recognizer: Recognizer) -> None:
    windows = itertools.islice(recognizer.iter_timeline(long_clip), found)
    do: Any = SimpleNamespace(
        plays=lambda path, asker: [True],
        preview=lambda path, asker: [],
        follow=lambda path, asker: ((each, False) for each in windows),
    )
    with gr.Blocks():
        panel = TimelinePanel(do, {})
    *_, last = panel.run(str(long_clip))
    assert "Stopped" in last[panel.words]
    assert (panel.files[0] in last) == (found > 0)  # what was found can be taken away


def answering(recognizer: Recognizer, settings: Settings = SETTINGS) -> AnswerPanel:
    with gr.Blocks():
        do = Handlers(as_background(recognizer), None, settings, [])
        return AnswerPanel(do, {}, video_player("The video"), "Choose one.", drop_zone())


def test_a_video_is_opened_in_turn(recognizer: Recognizer, video: Path) -> None:
    panel = answering(recognizer)
    assert panel.take(str(video))[panel.player] == gr.update(value=None, visible=False)
    _, step, *_ = panel.run(str(video))
    assert step[panel.player] == gr.update(value=str(video), visible=True)
    busy = answering(recognizer, dataclasses.replace(SETTINGS, max_waiting=0))
    busy.take(str(video))
    *_, last = busy.run(str(video))
    assert busy.player not in last
    assert "under way" in last[busy.words]


def test_an_answer_stands_without_its_preview(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_mp4(tmp_path / "old.avi", moving_bar(30))
    panel = answering(recognizer)
    panel.take(str(video))

    def fails(*_: Any) -> None:
        raise VideoError("There is no room.")

    monkeypatch.setattr("hmdb.page.service.handlers.make_preview", fails)
    with pytest.warns(UserWarning, match="cannot be played here. There is no room."):
        *_, last = panel.run(str(video))
    assert "There is no room." not in last[panel.words]
    assert {panel.film, panel.trust} <= set(last)


def test_a_map_does_not_wait_for_a_preview(recognizer: Recognizer, tmp_path: Path) -> None:
    panel = answering(recognizer)
    steps = panel.steps(str(write_mp4(tmp_path / "old.avi", moving_bar(30))))
    assert [next(iter(step)) for step in steps] == [panel.words, panel.film, panel.player, panel.trust]
