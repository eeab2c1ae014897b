"""Frames of a clip as pictures: files with captions for gr.Gallery, and data URLs for HTML."""

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
STRIP_QUALITY = 70
FRAME_KIND_WORDS = {"reversed": "backwards", "interpolated": "blended", "brightened": "brightened"}

Gallery = list[tuple[str, str]]  # path of a file, caption


def gallery(clip: Clip) -> Gallery:
    """The frames of a clip with their captions."""
    return publish_pictures(clip.pixels, map(caption, clip.frames))


def overlays(explanation: Explanation, opacity: float) -> Gallery:
    """The frames of a clip under their map, with their captions."""
    from hmdb.figures import overlay

    clip = explanation.prediction.clip
    drawn = overlay(clip.pixels, explanation.heat, opacity=opacity, region=explanation.region)
    return publish_pictures(drawn, map(caption, clip.frames))


def caption(frame: ClipFrame) -> str:
    """Describes a frame: "0.5 s, backwards", or "frame 12" where the clip has no clock."""
    moment = f"frame {frame.sources[0]}" if frame.seconds is None else f"{frame.seconds:.1f} s"
    return ", ".join(
        (moment, *(FRAME_KIND_WORDS[step] for step in frame.kind.split(" + ") if step in FRAME_KIND_WORDS))
    )


def publish_pictures(pixels: Iterable[np.ndarray], captions: Iterable[str]) -> Gallery:
    """Writes pictures as JPEGs of at most FRAME_SIDE into a stored folder of the current client.

    Gradio would name a file by its content, so that two visitors with the same picture would share one, rewritten
    while it is read; and it would write WebP, whose encoding takes longer than the network takes to answer.

    Args:
        pixels: uint8 RGB (H, W, 3) each.

    Raises:
        StorageFullError: the store has no room for them.
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
    """An `<img>` of frames, uint8 RGB (T, H, W, 3), side by side."""
    scale = STRIP_HEIGHT / pixels.shape[1]
    size = (max(round(pixels.shape[2] * scale), 1), STRIP_HEIGHT)
    strip = Image.new("RGB", (size[0] * len(pixels), STRIP_HEIGHT))
    for index, frame in enumerate(pixels):
        strip.paste(Image.fromarray(frame).resize(size), (index * size[0], 0))
    return render("film_strip.html", url=jpeg_data_url(strip, quality=STRIP_QUALITY))


def jpeg_data_url(picture: Image.Image, *, quality: int = 80) -> str:
    """Encodes a picture as a JPEG in a data URL."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
