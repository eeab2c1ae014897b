"""The one place of an answer: the headline, the likeliest actions, and why one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import gradio as gr

from hmdb.errors import HmdbError, VideoError
from hmdb.page.service.handlers import Handlers
from hmdb.page.tabs.base import (
    BARE_HTML,
    FORGOTTEN,
    HEIGHT,
    IMMEDIATE,
    QUEUED,
    THUMBNAIL_ROW,
    Panel,
    Updates,
    cumulative,
    render_here,
)
from hmdb.page.views.api_outputs import confidences
from hmdb.page.views.formatting import faithfulness_text, headline, note_html, pending_map_text
from hmdb.page.views.gallery import gallery
from hmdb.page.views.overlay_video import overlay_loop
from hmdb.page.views.walkthrough import walkthrough_html
from hmdb.results import Explanation, Faithfulness, Prediction
from hmdb.text import label_words


class AnswerPanel(Panel):
    """Player, answer and map side by side, or below one another on a phone; the frames under them."""

    def __init__(
        self, do: Handlers, heavy: dict[str, Any], player: gr.Video, invitation: str, upload: gr.File | None = None
    ) -> None:
        """
        Args:
            player: not rendered yet.
            upload: where files come from; the player is a recorder without.
        """
        super().__init__(do, heavy, invitation)
        self.player, self.upload = player, upload
        self.label = gr.State()
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
        with gr.Accordion("How it came to this answer, step by step", open=False, visible=False) as self.inside:
            self.told = gr.HTML(**BARE_HTML)
            self.told_of = gr.State()  # the path of the video
        with gr.Accordion("The answer as JSON", open=False, visible=False) as self.details:
            self.json = gr.JSON(label="Answer")
        render_here(self.clear)
        self.empty = {
            **{each: gr.update(value=None, visible=False) for each in (self.bars, self.film)},
            **{each: gr.update(visible=False) for each in (self.frames, self.details)},
            self.inside: gr.update(open=False, visible=False),
            self.told: "",
            self.told_of: None,
            self.trust: "",
            self.strip: None,
            self.moments: None,
            self.json: None,
        }
        chosen = self.bars.select(self.choose, None, [self.label, self.trust], **IMMEDIATE)
        chosen.then(self.why, [self.source, self.label], [self.film, self.trust], **QUEUED, **heavy)
        self.inside.expand(self.tell, [self.source, self.told_of], [self.told, self.told_of], **QUEUED, **heavy)
        self.strip.select(seek, self.moments, self.player, **IMMEDIATE)

    def take(self, path: str | None) -> Updates:
        self.do.cancel(self.told)
        return super().take(path)

    def steps(self, path: str) -> Iterator[Updates]:
        found = self.do.answer(path, asker=self)
        prediction = next(found, None)
        if not isinstance(prediction, Prediction):  # it was cancelled before there was one
            return
        yield self.answered(prediction)
        for number, step in enumerate(self.explained(found)):
            yield step
            if number == 0:  # a preview of a large video takes longer than a map
                yield self.preview(path)

    def answered(self, prediction: Prediction) -> Updates:
        return {
            self.words: headline(prediction, self.do.num_labels),
            self.bars: gr.update(
                value=confidences(prediction),
                visible=True,
                elem_classes=[] if prediction.is_known else ["unsure"],
            ),
            self.strip: gallery(prediction.clip),
            self.frames: gr.update(visible=True),
            self.moments: [frame.seconds for frame in prediction.clip.frames],
            self.json: prediction.to_dict(),
            self.details: gr.update(visible=True),
            self.inside: gr.update(visible=True),
            self.trust: note_html(pending_map_text(prediction.label)),
        }

    def explained(self, found: Iterable[Prediction | Explanation | Faithfulness]) -> Iterator[Updates]:
        """The map and what it is worth. What goes wrong with them leaves the answer as it is."""
        try:
            for each in found:
                match each:
                    case Explanation():
                        what = f"What speaks for “{label_words(each.label or 'the answer')}”"
                        yield {self.film: gr.update(value=overlay_loop(each), visible=True, label=what)}
                    case Faithfulness():
                        yield {self.trust: note_html(faithfulness_text(each))}
        except HmdbError as error:
            yield {self.trust: note_html(str(error))}

    def choose(self, event: gr.SelectData) -> Updates:
        self.do.cancel(self)
        return {self.label: event.value, self.trust: note_html(pending_map_text(event.value))}

    def why(self, path: str | None, label: str | None) -> Iterator[Updates]:
        if path is None or label is None:
            yield {self.trust: note_html(FORGOTTEN)}
        else:
            yield from cumulative(self.explained(self.do.why(path, label, asker=self)), self.trust)

    def tell(self, path: str | None, told_of: str | None) -> Iterator[Updates]:
        """The steps to the answer, once for each video."""
        if path is None:
            yield {self.told: note_html(FORGOTTEN)}
        else:
            yield from cumulative(self._closely(path) if path != told_of else (), self.told)

    def _closely(self, path: str) -> Iterator[Updates]:
        yield {self.told: note_html("Looking at it once more, closely …")}
        try:
            for closer in self.do.closer(path, asker=self.told):
                yield {self.told: walkthrough_html(closer), self.told_of: path}
        except HmdbError as error:
            yield {self.told: note_html(str(error))}


def seek(event: gr.SelectData, moments: Sequence[float | None] | None) -> Any:
    """The player, at the moment of the frame that was clicked.

    Raises:
        VideoError: Gradio let go of this visitor's state.
    """
    if moments is None:
        raise VideoError(FORGOTTEN)
    seconds = moments[event.index]
    return gr.skip() if seconds is None else gr.update(playback_position=seconds)
