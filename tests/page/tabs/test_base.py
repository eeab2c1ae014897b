"""The tabs' updates while an answer is in progress."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from hmdb.errors import StoppedError, VideoError
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.model_loader import as_background
from hmdb.page.settings import Settings
from hmdb.page.tabs.base import Panel, Updates, cumulative, drop_zone, video_player
from hmdb.page.tabs.long_video import TimelinePanel
from hmdb.page.tabs.video import AnswerPanel
from hmdb.recognizer import Recognizer
from tests.page.conftest import SETTINGS
from tests.support.clips import moving_bar, write_mp4


def test_each_update_repeats_those_before_it() -> None:
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


def test_values_outlast_their_removal_by_gradio() -> None:
    steps: list[Updates] = [{"film": gr.update(value="a.mp4", visible=True)}, {"words": "sure"}, {"words": "done"}]
    for update in cumulative(steps, "words"):
        assert update["film"].pop("value") == "a.mp4"  # as Gradio does with each update that it sends
    panel = Echo()
    panel.empty = {panel.bars: gr.update(value=None, visible=False)}
    for _ in range(2):
        assert "value" in panel.on_new_video(None)[panel.bars]
        panel.on_new_video(None)[panel.bars].pop("value")


def test_a_value_replaces_all_before_it() -> None:
    *_, last = cumulative(
        [{"json": {"label": "wave"}}, {"json": {"top": []}}, {"words": gr.update(visible=True)}, {"words": ""}],
        "words",
    )
    assert last == {"json": {"top": []}, "words": ""}


class Echo(Panel):
    """Answers with the path."""

    def __init__(self) -> None:
        do: Any = SimpleNamespace(cancel=lambda owner: None)
        super().__init__(do, "Choose one.")
        self.player, self.bars = gr.Video(), gr.Label()
        self.empty = {self.bars: None}

    def updates(self, path: str) -> Iterator[Updates]:
        if path == "bad":
            raise VideoError("bad is no video.")
        yield {self.words: path}
        yield {self.words: f"{path}!"}


@pytest.fixture
def panel() -> Echo:
    with gr.Blocks():
        return Echo()


def headlines(panel: Echo, path: str) -> list[Any]:
    return [step[panel.words] for step in panel.run(path) if panel.words in step]


def test_the_last_video_is_answered_once(panel: Echo) -> None:
    for path in ("a", "b"):
        panel.on_new_video(path)
    assert headlines(panel, "a") == ["b", "b!"]  # an event of "a" that came late
    assert headlines(panel, "b") == [gr.skip()]  # of nothing at all Gradio would make None everywhere
    panel.on_new_video(None)
    assert headlines(panel, "b") == [gr.skip()]


def test_a_new_video_ends_the_old_answer(panel: Echo) -> None:
    panel.on_new_video("a")
    answer = panel.run("a")
    assert [next(answer).get(panel.words) for _ in range(2)] == [None, "a"]
    panel.on_new_video("b")
    assert list(answer) == []


def test_an_error_empties_the_old_answer(panel: Echo) -> None:
    panel.on_new_video("bad")
    *_, step = panel.run("bad")
    assert step[panel.bars] is None
    assert "bad is no video." in step[panel.words]


@pytest.mark.parametrize("found", [0, 2])  # windows until a visitor stops it
def test_a_stopped_timeline_keeps_its_downloads(found: int, long_clip: Path, recognizer: Recognizer) -> None:
    windows = itertools.islice(recognizer.iter_timeline(long_clip), found)
    do: Any = SimpleNamespace(
        timeline_updates=lambda path, owner: ((each, False) for each in windows),
    )
    with gr.Blocks():
        panel = TimelinePanel(do)
    *_, last = panel.run(str(long_clip))
    assert "Stopped" in last[panel.words]
    assert (panel.files[0] in last) == (found > 0)  # a partial result can be downloaded


def answering(recognizer: Recognizer, settings: Settings = SETTINGS) -> AnswerPanel:
    with gr.Blocks():
        do = Handlers(as_background(recognizer), None, settings, [])
        return AnswerPanel(do, video_player("The video"), "Choose one.", drop_zone())


def test_a_video_is_opened_by_a_scheduled_job(recognizer: Recognizer, video: Path) -> None:
    panel = answering(recognizer)
    assert panel.on_new_video(str(video))[panel.player] == gr.update(value=None, visible=False)
    _, step, *_ = panel.run(str(video))
    assert step[panel.player] == gr.update(value=str(video), visible=True)
    busy = answering(recognizer, dataclasses.replace(SETTINGS, max_waiting=0))
    busy.on_new_video(str(video))
    *_, last = busy.run(str(video))
    assert busy.player not in last
    assert "already in progress" in last[busy.words]


def test_the_answer_stands_without_its_preview(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_mp4(tmp_path / "old.avi", moving_bar(30))
    panel = answering(recognizer)
    panel.on_new_video(str(video))

    def fails(*_: Any) -> None:
        raise VideoError("There is no room.")

    monkeypatch.setattr("hmdb.page.service.playback.make_preview", fails)
    with pytest.warns(UserWarning, match="cannot be played here. There is no room."):
        *_, last = panel.run(str(video))
    assert "There is no room." not in last[panel.words]
    assert {panel.film, panel.trust} <= set(last)


def test_a_map_does_not_wait_for_a_preview(recognizer: Recognizer, tmp_path: Path) -> None:
    panel = answering(recognizer)
    updates = panel.updates(str(write_mp4(tmp_path / "old.avi", moving_bar(30))))
    assert [next(iter(update)) for update in updates] == [panel.words, panel.film, panel.trust, panel.player]


def test_the_prediction_stands_and_the_preview_follows_where_the_map_fails(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    class NoMap(Recognizer):
        def explain(self, *args: Any, **options: Any) -> Any:
            raise StoppedError("The map took too long.")

    panel = answering(NoMap(recognizer.loaded))
    path = str(write_mp4(tmp_path / "old.avi", moving_bar(30)))
    panel.on_new_video(path)
    *_, last = panel.run(path)
    assert "The map took too long." in last[panel.trust]
    assert "too long" not in last[panel.words]
    assert panel.film not in last
    assert Path(last[panel.player]["value"]).stem == "preview"


def test_a_long_video_has_its_preview_before_it_can_be_stopped(recognizer: Recognizer, tmp_path: Path) -> None:
    with gr.Blocks():
        panel = TimelinePanel(Handlers(as_background(recognizer), None, SETTINGS))
    updates = panel.updates(str(write_mp4(tmp_path / "old.avi", moving_bar(1500, (64, 48)))))
    first = [next(iter(update)) for update in itertools.islice(updates, 4)]
    assert first == [panel.stop, panel.words, panel.player, panel.words]


def test_an_error_hides_the_stop_button(recognizer: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    with gr.Blocks():
        panel = TimelinePanel(Handlers(as_background(recognizer), None, SETTINGS))
    *_, last = panel.run(str(tmp_path / "text.mp4"))
    assert last[panel.stop] == gr.update(visible=False)
    assert "text.mp4" in last[panel.words]
