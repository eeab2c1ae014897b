"""The Live tab: a camera that is classified continuously, or a recording of it that is answered when it ends."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from hmdb.errors import HmdbError
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.live_stream import LiveSession, decode_jpeg
from hmdb.page.tabs.base import BARE_HTML, HEIGHT, IMMEDIATE, SCHEDULED, recorder
from hmdb.page.tabs.request_queue import Updates
from hmdb.page.tabs.video import AnswerPanel
from hmdb.page.views.assets import read_script, render
from hmdb.page.views.formatting import confidence_text, duration, error_html, headline_html
from hmdb.page.views.gallery import film_strip
from hmdb.text import action_name

LIVE = "Live"
MODES = (LIVE, "Record a clip")

FRAME_INTERVAL_SECONDS = 0.2  # at least; the next picture is not sent before the last is answered
LEASE_SECONDS = 20  # after which a running camera queues again
MIN_PICTURES = 2  # before the first headline

START_WORDS = "Start your camera", "Then do something: wave, do a push-up, brush your hair."


def add_live_tab(do: Handlers, tabs: gr.Tabs, keep_seconds: float) -> None:
    """Adds the live camera and the recorder, of which one is shown.

    Args:
        do: answers.
        tabs: the page's tabs.
        keep_seconds: until a recording is deleted.
    """

    mode = gr.Radio(MODES, value=MODES[0], label="How the camera is used", show_label=False, container=False)
    with gr.Column(elem_classes="uses-camera") as streamed:
        live = LivePanel(do)
    with gr.Column(visible=False, elem_classes="uses-camera") as recorded:
        record = AnswerPanel(
            do,
            recorder("Recording"),
            "Record a few seconds of yourself; the answer comes when you stop. The recording is deleted "
            f"after {duration(keep_seconds)}. Its sound is ignored, though your browser may ask for it.",
        )
        record.connect(record.player, record.player.stop_recording, record.player.clear)

    def show_mode(chosen: str) -> Updates:
        """Shows the chosen mode, and neither on another tab: a hidden component releases its camera."""
        visible = {column: gr.update(visible=chosen == each) for column, each in zip(columns, MODES, strict=True)}
        return {**live.idle(), **visible}

    def show_tab(chosen: str, event: gr.SelectData) -> Updates:
        return show_mode(chosen if event.value == LIVE else "")

    columns = [streamed, recorded]
    mode.change(show_mode, mode, [*columns, *live.outputs], **IMMEDIATE)
    tabs.select(show_tab, mode, [*columns, *live.outputs], **IMMEDIATE)


class LivePanel:
    """A camera and the action in front of it."""

    def __init__(self, do: Handlers) -> None:
        self.do = do
        self.session = gr.State()
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300), gr.Column() as around:
                self.camera = gr.Image(
                    label="Your camera",
                    sources=["webcam"],
                    streaming=True,
                    webcam_options=gr.WebcamOptions(
                        mirror=False, constraints={"video": {"width": 320, "height": 240, "facingMode": "user"}}
                    ),
                    height=HEIGHT,
                    buttons=[],
                    elem_classes="camera",
                )
                self.camera.preprocess = raw_data_url  # type: ignore[method-assign]  # Gradio's own decodes any size
            with gr.Column(min_width=300):
                self.words = gr.HTML(headline_html(*START_WORDS), **BARE_HTML)
                self.bars = gr.Label(
                    label="The likeliest of the last seconds", num_top_classes=5, show_heading=False, visible=False
                )
        self.strip = gr.HTML(**BARE_HTML)
        note = gr.HTML(render("camera_note.html"), js_on_load=read_script("stop_camera.js"), **BARE_HTML)
        hidden = note.stop(lambda: gr.update(visible=False), None, around, **IMMEDIATE)
        hidden.then(
            lambda: {around: gr.update(visible=True), **self.idle()}, None, [around, *self.outputs], **IMMEDIATE
        )
        self.camera.stream(
            self.on_frame,
            [self.camera, self.session],
            [self.words, self.bars, self.strip, self.session],
            stream_every=FRAME_INTERVAL_SECONDS,
            time_limit=LEASE_SECONDS,
            show_progress="hidden",
            api_visibility="private",
            **SCHEDULED,
        )

    @property
    def outputs(self) -> list[Any]:
        return [self.camera, self.words, self.bars, self.strip, self.session]

    def idle(self) -> Updates:
        """The panel while its camera is off."""
        return {
            self.camera: None,
            self.words: headline_html(*START_WORDS),
            self.bars: gr.update(value=None, visible=False),
            self.strip: "",
            self.session: None,
        }

    def on_frame(self, url: str | None, session: LiveSession | None) -> tuple[Any, ...]:
        """Returns headline, bars, strip and session after one more picture."""
        session = session or LiveSession()
        if url is None:
            return gr.skip(), gr.skip(), gr.skip(), session
        try:
            session.add_frame(decode_jpeg(url), time.monotonic())
            clip = session.clip(self.do.clip_spec)
            for prediction in self.do.classify_clip(clip) if session.moves else ():
                session.add_prediction(prediction, time.monotonic())
        except HmdbError as error:
            return error_html(error), gr.skip(), gr.skip(), session
        top = session.top_five
        bars = gr.update(value=top or None, visible=bool(top), elem_classes=[] if session.is_known else ["unsure"])
        return self.headline(session), bars, film_strip(clip.pixels), session

    def headline(self, session: LiveSession) -> str:
        if len(session.pictures) < MIN_PICTURES:
            return headline_html("", "Looking …")
        if not session.moves:
            return headline_html("Nothing moves", "Do something: wave, do a push-up, brush your hair.")
        if not session.is_known:
            return headline_html(
                "None of these", f"The model knows {self.do.num_labels} actions, and this seems to be another."
            )
        return headline_html(action_name(session.label), confidence_text(session.smoothed[session.label]))


def raw_data_url(payload: ImageData | None) -> str | None:
    """Returns a camera picture as it was sent, still text."""
    return None if payload is None else payload.url or ""
