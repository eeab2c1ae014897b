"""The Video tab: a video or an example, its prediction, and the explanation of a label."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from hmdb.errors import HmdbError, VideoError
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.playback import Playback, PreviewError
from hmdb.page.tabs.base import (
    BARE_HTML,
    FORGOTTEN,
    HEIGHT,
    IMMEDIATE,
    THUMBNAIL_ROW,
    Panel,
    drop_zone,
    render_here,
    video_player,
)
from hmdb.page.tabs.request_queue import LABEL, WALKTHROUGH, Updates
from hmdb.page.views.assets import read_script
from hmdb.page.views.formatting import faithfulness_text, headline, note_html, pending_map_text
from hmdb.page.views.gallery import gallery
from hmdb.page.views.overlay_video import overlay_loop
from hmdb.page.views.social_cards import PARAMETER, ExampleLinks, example_names
from hmdb.page.views.walkthrough import walkthrough_html
from hmdb.results import Explanation, Faithfulness, Prediction
from hmdb.text import action_name

OPENS_WITH = "pullup"  # the example that is answered when the page opens
VIDEO = "video"  # id of the tab
MIN_BAR = 0.01  # probability of a bar, except for the first


class AnswerPanel(Panel):
    """Player, answer and map side by side, or below one another on a phone; the frames under them."""

    def __init__(self, do: Handlers, player: gr.Video, invitation: str, upload: gr.File | None = None) -> None:
        """
        Args:
            do: the handlers of its events.
            player: not rendered yet.
            invitation: shown while there is no video.
            upload: the source of files; None if the player is a recorder.
        """
        super().__init__(do, invitation)
        self.player, self.upload = player, upload
        self.moments = gr.State()  # of the frames, in seconds
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300):
                render_here(player)
            with gr.Column(min_width=300):
                render_here(self.words)
                self.bars = gr.Label(label="Click one to see why", num_top_classes=5, show_heading=False, visible=False)
            with gr.Column(min_width=300):
                self.film = gr.Video(
                    label="Why",
                    interactive=False,
                    autoplay=True,
                    loop=True,
                    buttons=[],
                    height=HEIGHT,
                    visible=False,
                    elem_classes="why",
                )
                self.trust = gr.HTML(**BARE_HTML)
        with gr.Column(visible=False) as self.frames:
            gr.HTML(note_html("The frames it looked at. Click one to see the video there."), **BARE_HTML)
            self.strip = gr.Gallery(label="The frames it looked at", elem_classes="pictures", **THUMBNAIL_ROW)
        with gr.Accordion(
            "How it came to this answer, step by step", open=False, visible=False
        ) as self.walkthrough_accordion:
            self.walkthrough = gr.HTML(**BARE_HTML)
        with gr.Accordion("The answer as JSON", open=False, visible=False) as self.details:
            self.json = gr.JSON(label="Answer")
        render_here(self.clear)
        self.empty = {
            **{each: gr.update(value=None, visible=False) for each in (self.bars, self.film)},
            **{each: gr.update(visible=False) for each in (self.frames, self.details)},
            self.walkthrough_accordion: gr.update(open=False, visible=False),
            self.walkthrough: "",
            self.trust: "",
            self.strip: None,
            self.moments: None,
            self.json: None,
        }
        self.on_request(self.bars.select, self.on_label)
        self.on_request(self.walkthrough_accordion.expand, self.on_expand)
        self.strip.select(seek, self.moments, self.player, **IMMEDIATE)

    def cancel(self) -> None:
        self.do.cancel(self.walkthrough)
        super().cancel()

    def on_label(self, number: float, event: gr.SelectData) -> float:
        """Requests the explanation of the label that was clicked."""
        self._queue.put(number, LABEL, partial(self.explain_label, event.value), partial(self.do.cancel, self))
        return number

    def on_expand(self, number: float) -> float:
        """Requests the step-by-step walkthrough."""
        self._queue.put(number, WALKTHROUGH, self.show_walkthrough)
        return number

    def updates(self, path: str) -> Iterator[Updates]:
        for result in self.do.answer(path, owner=self):
            match result:
                case Playback() | PreviewError():
                    yield self.show_player(result)
                case Prediction():
                    yield self.show_prediction(result)
                case _:
                    yield self.show_explanation(result)

    def show_prediction(self, prediction: Prediction) -> Updates:
        return {
            self.words: headline(prediction, self.do.num_labels, self.do.reliability(prediction)),
            self.bars: gr.update(
                value=visible_bars(prediction),
                visible=True,
                elem_classes=[] if prediction.is_known else ["unsure"],
            ),
            self.strip: gallery(prediction.clip),
            self.frames: gr.update(visible=True),
            self.moments: [frame.seconds for frame in prediction.clip.frames],
            self.json: prediction.to_dict(),
            self.details: gr.update(visible=True),
            self.walkthrough_accordion: gr.update(visible=True),
            self.trust: note_html(pending_map_text(prediction.label)),
        }

    def show_explanation(self, result: Explanation | Faithfulness | HmdbError) -> Updates:
        """The map, its faithfulness, or an error in its place; the prediction stays."""
        match result:
            case Explanation():
                title = f"What speaks for “{action_name(result.label or 'the answer')}”"
                return {self.film: gr.update(value=overlay_loop(result), visible=True, label=title)}
            case Faithfulness():
                return {self.trust: note_html(faithfulness_text(result))}
            case HmdbError():
                return {self.trust: note_html(str(result))}

    def explain_label(self, label: str) -> Iterator[Updates]:
        if (path := self._queue.path) is None:
            yield {self.trust: note_html(FORGOTTEN)}
            return
        yield {self.trust: note_html(pending_map_text(label))}
        try:
            yield from map(self.show_explanation, self.do.explain_label(path, label, owner=self))
        except HmdbError as error:
            yield self.show_explanation(error)

    def show_walkthrough(self) -> Iterator[Updates]:
        if (path := self._queue.path) is None:
            yield {self.walkthrough: note_html(FORGOTTEN)}
            return
        yield {self.walkthrough: note_html("Tracing the answer …")}
        try:
            for trace in self.do.trace_answer(path, owner=self.walkthrough):
                yield {self.walkthrough: walkthrough_html(trace)}
        except HmdbError as error:
            yield {self.walkthrough: note_html(str(error))}


def visible_bars(prediction: Prediction) -> dict[str, float]:
    """The likeliest action, and those of the five that are at least 1 % probable."""
    likely = [each >= MIN_BAR for each in prediction.probabilities[1:]]
    shown = itertools.compress(zip(prediction.labels, prediction.probabilities, strict=True), [True, *likely])
    return {action_name(label): probability for label, probability in shown}


def seek(event: gr.SelectData, moments: Sequence[float | None] | None) -> Any:
    """Moves the player to the frame that was clicked.

    Raises:
        VideoError: Gradio has dropped this visitor's state.
    """
    if moments is None:
        raise VideoError(FORGOTTEN)
    seconds = moments[event.index]
    return gr.skip() if seconds is None else gr.update(playback_position=seconds)


def add_video_tab(demo: gr.Blocks, do: Handlers, tabs: gr.Tabs, links: ExampleLinks) -> None:
    """Adds the drop zone, the examples and the answer."""
    with gr.Row(equal_height=False):
        upload = drop_zone()
        if links.clips:
            examples = gr.Gallery(
                list(zip(links.frames, example_names(links.clips), strict=True)),
                label="Examples",
                interactive=False,
                scale=6,
                elem_classes=["pictures", "examples"],
                **THUMBNAIL_ROW,
            )
    panel = AnswerPanel(
        do,
        video_player("The video"),
        "Drop a short video or choose an example, and the answer appears here.",
        upload,
    )
    if links.clips:
        connect_examples(demo, panel, examples, tabs, links)
    panel.connect(upload, upload.upload)


def connect_examples(
    demo: gr.Blocks, panel: AnswerPanel, examples: gr.Gallery, tabs: gr.Tabs, links: ExampleLinks
) -> None:
    """Answers an example when the page opens, the one that its URL names or OPENS_WITH, and then those clicked."""
    link = gr.HTML(**BARE_HTML)
    panel.empty |= {link: ""}
    panel.chosen |= {examples: gr.update(selected_index=-1)}  # None would be left out
    first = links.clip(OPENS_WITH) or links.clips[0]

    def request_example(number: float, clip: Path) -> bool:
        return panel.request_video(number, str(clip), {link: links.link(clip)})

    def on_select(number: float, event: gr.SelectData) -> float:
        request_example(number, links.clips[event.index])
        return number

    def on_load(number: float, request: gr.Request) -> dict[Any, Any]:
        wanted = links.clip(request.query_params.get(PARAMETER))
        is_newest = request_example(number, wanted or first)
        return {panel.number: number, tabs: gr.Tabs(selected=VIDEO) if wanted and is_newest else gr.skip()}

    link.change(None, link, js=read_script("sync_example_link.js"))
    panel.on_request(examples.select, on_select)
    panel.on_request(demo.load, on_load, outputs=[panel.number, tabs])
