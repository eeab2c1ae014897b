"""Live: the last seconds of a camera are the clip, and are answered again and again.

Nothing of it is written anywhere: pictures come in and go out within messages, and what is kept of them is the
memory of one visitor's `LiveSession`.
"""

from __future__ import annotations

import base64
import io
import math
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr
import numpy as np
from gradio.data_classes import ImageData
from PIL import Image

from hmdb.clips.clip import Clip, ClipFrame, ClipSpec
from hmdb.clips.sampling import evenly_spaced
from hmdb.errors import HmdbError, VideoError
from hmdb.page.service.handlers import Handlers
from hmdb.page.tabs.base import BARE_HTML, HEIGHT, IMMEDIATE
from hmdb.page.views.assets import read_script, render
from hmdb.page.views.formatting import confidence_text, error_html, headline_html
from hmdb.page.views.gallery import film_strip
from hmdb.results import Prediction
from hmdb.text import label_words

CLIP_SECONDS = 2.5  # that the clip reaches back
MIN_REACH_PICTURES, MAX_REACH_SECONDS = (
    4,
    10.0,
)  # pictures that it reaches back for where they come slowly, and seconds at the most
KEPT_SIDE = 320  # pixels of the longer side of a picture that is kept
STILL_GREY_LEVELS = 1.5  # grey levels from picture to picture, on average, below which nothing moves
SMOOTHING_SECONDS = 0.7  # seconds in which what was answered fades to a third
HEADLINE_LEAD = 0.1  # of the smoothed probability, by which another action has to lead to become the headline
KNOWN_SHARE = 0.5  # the share of late answers that have to be one of the actions

FRAME_INTERVAL_SECONDS = (
    0.2  # seconds from picture to picture, at least; the next is not sent before the last is answered
)
MAX_ASPECT = 8  # of a picture, the longer side over the shorter
LEASE_SECONDS = 20  # seconds of answering, after which a camera that goes on waits again
MAX_PIXELS = 2 * 2**20
MIN_PICTURES = 2  # before the first headline
TOO_LARGE = "The pictures from this camera are too large."

START_WORDS = "Start your camera", "Then do something: wave, do a push-up, brush your hair."


@dataclass
class LiveSession:
    """What one visitor's camera has shown of late, and what was answered.

    Attributes:
        pictures: when each was taken, in seconds, and its pixels, uint8 RGB (H, W, 3).
        shares: the smoothed probability of each label.
        known: the smoothed share of answers that the model takes for one of its actions.
        label: the headline.
    """

    pictures: deque[tuple[float, np.ndarray]] = field(default_factory=deque)
    shares: dict[str, float] = field(default_factory=dict)
    known: float = 0.0
    label: str = ""
    answered: float = -math.inf

    def see(self, pixels: np.ndarray, now: float) -> None:
        """Keeps a picture, and drops those that are too old; where answers are slow, few pictures are seen at all."""
        if self.pictures and self.pictures[-1][1].shape != pixels.shape:
            self.pictures.clear()  # another camera, or the phone was turned
        self.pictures.append((now, pixels))
        while now - self.pictures[0][0] > (
            CLIP_SECONDS if len(self.pictures) > MIN_REACH_PICTURES else MAX_REACH_SECONDS
        ):
            self.pictures.popleft()

    @property
    def moves(self) -> bool:
        """Whether anything changes from picture to picture."""
        grey = np.stack([pixels[::4, ::4].mean(axis=2) for _, pixels in self.pictures])
        return len(grey) > 1 and float(np.abs(np.diff(grey, axis=0)).mean()) >= STILL_GREY_LEVELS

    def clip(self, spec: ClipSpec) -> Clip:
        """The frames for the model, spread over what was seen; the newest is one of them."""
        count = len(self.pictures)
        chosen = [self.pictures[count - 1 - back] for back in reversed(evenly_spaced(count, spec.num_frames))]
        moments = [moment - self.pictures[0][0] for moment, _ in chosen]
        return Clip(
            pixels=np.stack([pixels for _, pixels in chosen]),
            frames=tuple(ClipFrame(sources=(i,), seconds=each, kind="real") for i, each in enumerate(moments)),
            spec=replace(spec, sampler="equidistant"),
            decoder="camera",
        )

    def hear(self, prediction: Prediction, now: float) -> None:
        """Smooths an answer for all labels into those before it, so that the headline does not flicker."""
        old = math.exp((self.answered - now) / SMOOTHING_SECONDS)
        new = zip(prediction.labels, prediction.probabilities, strict=True)
        self.shares = {label: old * self.shares.get(label, 0) + (1 - old) * share for label, share in new}
        self.known = old * self.known + (1 - old) * prediction.is_known
        self.answered = now
        best = max(self.shares, key=self.shares.__getitem__)
        if not self.label or self.shares[best] >= self.shares[self.label] + HEADLINE_LEAD:
            self.label = best

    @property
    def top(self) -> dict[str, float]:
        """The five likeliest labels, as people write them."""
        likeliest = sorted(self.shares.items(), key=lambda item: -item[1])[:5]
        return {label_words(label): share for label, share in likeliest}


class LivePanel:
    """A camera, and beside it what somebody is doing in front of it."""

    def __init__(self, do: Handlers) -> None:
        self.do = do
        watch = gr.State()
        with gr.Row(equal_height=False):
            with gr.Column(min_width=300), gr.Column() as around:
                camera = gr.Image(
                    label="Your camera",
                    sources=["webcam"],
                    streaming=True,
                    webcam_options=gr.WebcamOptions(
                        mirror=True, constraints={"video": {"width": 320, "height": 240, "facingMode": "user"}}
                    ),
                    height=HEIGHT,
                    buttons=[],
                    elem_classes="camera",
                )
                camera.preprocess = raw_data_url  # type: ignore[method-assign]  # Gradio's own takes a picture of any size
            with gr.Column(min_width=300):
                self.words = gr.HTML(headline_html(*START_WORDS), **BARE_HTML)
                self.bars = gr.Label(
                    label="The likeliest of the last seconds", num_top_classes=5, show_heading=False, visible=False
                )
        self.strip = gr.HTML(**BARE_HTML)
        note = gr.HTML(render("camera_note.html"), js_on_load=read_script("stop_camera.js"), **BARE_HTML)
        hidden = note.stop(lambda: gr.update(visible=False), None, around, **IMMEDIATE)
        hidden.then(lambda: gr.update(visible=True), None, around, **IMMEDIATE)
        camera.stream(
            self.look,
            [camera, watch],
            [self.words, self.bars, self.strip, watch],
            stream_every=FRAME_INTERVAL_SECONDS,
            time_limit=LEASE_SECONDS,
            concurrency_limit=None,  # the turns share out the answers, and a camera that sends nothing holds nobody up
            show_progress="hidden",
            api_visibility="private",
        )

    def look(self, url: str | None, watch: LiveSession | None) -> tuple[Any, ...]:
        """Headline, bars, strip and what is remembered, after one more picture."""
        watch = watch or LiveSession()
        if url is None:
            return gr.skip(), gr.skip(), gr.skip(), watch
        try:
            watch.see(decode_jpeg(url), time.monotonic())
            clip, moves = watch.clip(self.do.clip_spec), watch.moves
            for prediction in self.do.look(clip) if moves else ():
                watch.hear(prediction, time.monotonic())
        except HmdbError as error:
            return error_html(error), gr.skip(), gr.skip(), watch
        known = moves and watch.known >= KNOWN_SHARE
        bars = gr.update(value=watch.top or None, visible=bool(watch.top), elem_classes=[] if known else ["unsure"])
        return self.headline(watch, moves=moves, known=known), bars, film_strip(clip.pixels), watch

    def headline(self, watch: LiveSession, *, moves: bool, known: bool) -> str:
        if len(watch.pictures) < MIN_PICTURES:
            return headline_html("", "Looking …")
        if not moves:
            return headline_html("Nothing moves", "Do something: wave, do a push-up, brush your hair.")
        if not known:
            return headline_html(
                "None of these", f"It knows {self.do.num_labels} actions, and this seems to be another."
            )
        return headline_html(label_words(watch.label), confidence_text(watch.shares[watch.label]))


def raw_data_url(payload: ImageData | None) -> str | None:
    """What a camera sent, still as text."""
    return None if payload is None else payload.url or ""


def decode_jpeg(url: str) -> np.ndarray:
    """The picture of a data URL as a camera's stream has it: uint8 RGB, at most SIDE on its longer side.

    Raises:
        VideoError: it is none, or too large.
    """
    head, _, data = url.partition(",")
    if not head.startswith("data:image/jpeg;base64"):
        raise VideoError("This is not a picture from a camera.")
    try:
        with Image.open(io.BytesIO(base64.b64decode(data)), formats=["JPEG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS or max(picture.size) > MAX_ASPECT * min(picture.size):
                raise VideoError(TOO_LARGE)
            picture.draft("RGB", (KEPT_SIDE, KEPT_SIDE))
            small = picture.convert("RGB")
    except Image.DecompressionBombError as error:  # Pillow's own limit comes first
        raise VideoError(TOO_LARGE) from error
    except (OSError, ValueError) as error:
        raise VideoError("This is not a picture from a camera.") from error
    small.thumbnail((KEPT_SIDE, KEPT_SIDE))
    return np.asarray(small)
