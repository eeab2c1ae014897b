"""Frames of a clip as pictures: files with captions, and a strip within the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hmdb.clips.clip import Clip, ClipFrame
from hmdb.page.server.file_store import ANSWERS, FILES
from hmdb.page.server.session import client_address
from hmdb.page.views.assets import render

if TYPE_CHECKING:
    from hmdb.results import Explanation


FRAME_SIDE = 480  # pixels, the longest side of a frame in a gallery
FRAME_QUALITY = 88  # of its JPEG
STRIP_HEIGHT = 72  # pixels
FRAME_KIND_WORDS = {
    "reversed": "backwards",
    "interpolated": "blended",
    "brightened": "brightened",
}  # of frames that are not real

Gallery = list[tuple[str, str]]  # files and captions


def gallery(clip: Clip) -> Gallery:
    """The frames of a clip with their captions."""
    return publish_pictures(clip.pixels, map(caption, clip.frames))


def overlays(explanation: Explanation, opacity: float) -> Gallery:
    """The frames under their map."""
    from hmdb.figures import overlay

    clip = explanation.prediction.clip
    drawn = overlay(clip.pixels, explanation.heat, opacity=opacity, region=explanation.region)
    return publish_pictures(drawn, map(caption, clip.frames))


def caption(frame: ClipFrame) -> str:
    """ "0.5 s, backwards"; a folder of frames has no clock, so there the frame's number."""
    moment = f"frame {frame.sources[0]}" if frame.seconds is None else f"{frame.seconds:.1f} s"
    return ", ".join(
        (moment, *(FRAME_KIND_WORDS[step] for step in frame.kind.split(" + ") if step in FRAME_KIND_WORDS))
    )


def publish_pictures(pixels: Iterable[np.ndarray], captions: Iterable[str]) -> Gallery:
    """Writes pictures, small enough to send, into a folder that the current client gets them from.

    Left to Gradio, the same picture of two visitors would be one file, written again while it is read, and
    WebP, which takes longer to write than the network to answer.
    """
    found = []
    with FILES.create_folder(ANSWERS, client_address()) as folder:
        for number, (frame, words) in enumerate(zip(pixels, captions, strict=True)):
            image = Image.fromarray(frame)
            image.thumbnail((FRAME_SIDE, FRAME_SIDE))
            path = folder.path / f"{number}.jpg"
            image.save(path, quality=FRAME_QUALITY)
            FILES.reserve(folder, path.stat().st_size)
            found.append((str(path), words))
    return found


def film_strip(pixels: np.ndarray) -> str:
    """The frames side by side, as one picture within the page."""
    scale = STRIP_HEIGHT / pixels.shape[1]
    size = (max(round(pixels.shape[2] * scale), 1), STRIP_HEIGHT)
    strip = Image.new("RGB", (size[0] * len(pixels), STRIP_HEIGHT))
    for index, frame in enumerate(pixels):
        strip.paste(Image.fromarray(frame).resize(size), (index * size[0], 0))
    return render("film_strip.html", url=jpeg_data_url(strip, quality=70))


def jpeg_data_url(picture: Image.Image, *, quality: int = 80) -> str:
    """A picture as a JPEG within a URL."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
