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
from hmdb.page.tabs.base import FORGOTTEN, Panel, cumulative, drop_zone, video_player
from hmdb.page.tabs.long_video import TimelinePanel
from hmdb.page.tabs.request_queue import Updates
from hmdb.page.tabs.video import AnswerPanel, visible_bars
from hmdb.recognizer import Recognizer
from hmdb.text import action_name
from tests.page.conftest import SETTINGS
from tests.support.clips import moving_bar, write_mp4


def test_each_update_repeats_those_before_it() -> None:
    steps: list[Updates] = [
        {"words": "Looking"},
        {},
        {"film": gr.update(value="a.mp4", visible=True)},
        {"film": gr.update(label="Why")},
    ]
    first, second, third = cumulative(steps)
    assert first == {"words": "Looking"}
    assert second == {"words": "Looking", "film": gr.update(value="a.mp4", visible=True)}
    assert third["film"] == gr.update(value="a.mp4", visible=True, label="Why")


def test_values_outlast_their_removal_by_gradio() -> None:
    steps: list[Updates] = [{"film": gr.update(value="a.mp4", visible=True)}, {"words": "sure"}, {"words": "done"}]
    for update in cumulative(steps):
        assert update["film"].pop("value") == "a.mp4"  # as Gradio does with each update that it sends
    panel = Echo()
    panel.empty = {panel.bars: gr.update(value=None, visible=False)}
    panel.chosen = {panel.player: gr.update(value=None)}
    for number in range(2):
        assert "value" in panel.on_new_video(number, None)[panel.player]
        panel.on_new_video(number, None)[panel.player].pop("value")
        (emptied,) = panel.run()
        assert "value" in emptied[panel.bars]
        emptied[panel.bars].pop("value")


def test_a_value_replaces_all_before_it() -> None:
    *_, last = cumulative(
        [{"json": {"label": "wave"}}, {"json": {"top": []}}, {"words": gr.update(visible=True)}, {"words": ""}]
    )
    assert last == {"json": {"top": []}, "words": ""}


def test_an_accordion_is_closed_once() -> None:
    steps: list[Updates] = [
        {"steps": gr.update(open=False, visible=False)},
        {"steps": gr.update(visible=True)},
        {"b": 1},
    ]
    first, *others = cumulative(steps)
    assert first == {"steps": gr.update(open=False, visible=False)}
    assert [update["steps"] for update in others] == [gr.update(visible=True)] * 2  # the visitor may have opened it


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


def headlines(panel: Echo) -> list[Any]:
    return [step[panel.words] for step in panel.run()]


def answer(panel: Panel, path: str) -> Iterator[Updates]:
    panel.on_new_video(1, path)
    return panel.run()


def test_the_last_video_is_answered_once(panel: Echo) -> None:
    for number, path in enumerate("ab"):
        panel.on_new_video(number, path)
    assert headlines(panel)[1:] == ["b", "b!"]
    assert headlines(panel) == [gr.skip()]  # without an update Gradio would empty all components


def test_requests_count_in_the_order_of_the_browser(panel: Echo) -> None:
    panel.on_new_video(2, "b")
    panel.on_new_video(1, "a")  # sent earlier, and overtaken
    assert headlines(panel)[1:] == ["b", "b!"]
    panel.on_clear(3)
    assert headlines(panel) == [panel.invitation]


def test_a_new_video_ends_the_old_answer(panel: Echo) -> None:
    shown = answer(panel, "a")
    assert ["Working" in next(shown)[panel.words], next(shown)[panel.words]] == [True, "a"]
    panel.on_new_video(2, "b")
    assert [step[panel.words] for step in shown][1:] == ["b", "b!"]


def test_a_late_request_cancels_nothing(panel: Echo) -> None:
    cancelled: list[object] = []
    panel.do.cancel = cancelled.append  # type: ignore[assignment,method-assign]
    panel.on_new_video(2, "b")
    panel.on_new_video(1, "a")
    assert cancelled == [panel]


def test_an_error_empties_the_old_answer(panel: Echo) -> None:
    *_, step = answer(panel, "bad")
    assert step[panel.bars] is None
    assert "bad is no video." in step[panel.words]


@pytest.mark.parametrize("found", [0, 2])  # windows until a visitor stops it
def test_a_stopped_timeline_keeps_its_downloads(found: int, long_clip: Path, recognizer: Recognizer) -> None:
    windows = itertools.islice(recognizer.iter_timeline(long_clip), found)
    do: Any = SimpleNamespace(
        timeline_updates=lambda path, owner: ((each, False) for each in windows),
        cancel=lambda owner: None,
    )
    with gr.Blocks():
        panel = TimelinePanel(do)
    *_, last = answer(panel, str(long_clip))
    assert "Stopped" in last[panel.words]
    assert last[panel.files[0]]["visible"] == (found > 0)  # a partial result can be downloaded


def answering(recognizer: Recognizer, settings: Settings = SETTINGS) -> AnswerPanel:
    with gr.Blocks():
        do = Handlers(as_background(recognizer), None, settings, [])
        return AnswerPanel(do, video_player("The video"), "Choose one.", drop_zone())


def test_a_video_is_opened_by_a_scheduled_job(recognizer: Recognizer, video: Path) -> None:
    panel = answering(recognizer)
    emptied, step, *_ = answer(panel, str(video))
    assert emptied[panel.player] == gr.update(value=None, visible=False)
    assert step[panel.player] == gr.update(value=str(video), visible=True)
    busy = answering(recognizer, dataclasses.replace(SETTINGS, max_waiting=0))
    *_, last = answer(busy, str(video))
    assert last[busy.player] == gr.update(value=None, visible=False)
    assert "already in progress" in last[busy.words]


def test_the_answer_stands_without_its_preview(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_mp4(tmp_path / "old.avi", moving_bar(30))
    panel = answering(recognizer)

    def fails(*_: Any) -> None:
        raise VideoError("There is no room.")

    monkeypatch.setattr("hmdb.page.service.playback.make_preview", fails)
    with pytest.warns(UserWarning, match="cannot be played here. There is no room."):
        *_, last = answer(panel, str(video))
    assert "There is no room." not in last[panel.words]
    assert last[panel.film]["value"]
    assert last[panel.trust]


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
    *_, last = answer(panel, str(write_mp4(tmp_path / "old.avi", moving_bar(30))))
    assert "The map took too long." in last[panel.trust]
    assert "too long" not in last[panel.words]
    assert last[panel.film]["value"] is None
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
    *_, last = answer(panel, str(tmp_path / "text.mp4"))
    assert last[panel.stop] == gr.update(visible=False)
    assert "text.mp4" in last[panel.words]


def test_a_label_is_explained_and_the_walkthrough_follows(recognizer: Recognizer, video: Path) -> None:
    panel = answering(recognizer)
    list(answer(panel, str(video)))
    label = recognizer.labels[3]
    panel.on_expand(2)
    panel.on_label(3, SimpleNamespace(value=action_name(label)))  # type: ignore[arg-type]
    steps = list(panel.run())
    assert [panel.walkthrough in step for step in steps] == [True, True, False, False, False]
    assert "Tracing" in steps[0][panel.walkthrough]
    assert "<li" in steps[1][panel.walkthrough]
    assert action_name(label) in steps[-1][panel.film]["label"]


def test_a_label_of_an_older_video_is_not_explained(recognizer: Recognizer, video: Path) -> None:
    panel = answering(recognizer)
    panel.on_new_video(2, str(video))
    panel.on_label(1, SimpleNamespace(value="wave"))  # type: ignore[arg-type]
    *_, last = panel.run()
    assert last[panel.film]["label"] != "What speaks for “wave”" or recognizer(video).label == "wave"
    assert list(panel.run()) == [{panel.words: gr.skip()}]


@pytest.mark.parametrize("request_more", ["on_expand", "on_label"])
def test_a_forgotten_video_is_asked_for_again(recognizer: Recognizer, request_more: str) -> None:
    panel = answering(recognizer)
    event = {"on_expand": [], "on_label": [SimpleNamespace(value="wave")]}[request_more]
    getattr(panel, request_more)(1, *event)
    (step,) = panel.run()
    assert any(FORGOTTEN in str(value) for value in step.values())


def test_actions_below_one_percent_have_no_bar(recognizer: Recognizer, video: Path) -> None:
    prediction = dataclasses.replace(
        recognizer(video), labels=("pullup", "wave", "golf"), probabilities=(0.985, 0.012, 0.003)
    )
    assert visible_bars(prediction) == {"pull-up": 0.985, "waving": 0.012}
    unsure = dataclasses.replace(prediction, probabilities=(0.009, 0.008, 0.007))
    assert visible_bars(unsure) == {"pull-up": 0.009}
