"""Short films without sound that a browser plays in a loop: the frames of a clip under their map."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from hmdb.errors import VideoError
from hmdb.page.files import served

if TYPE_CHECKING:
    from hmdb.results import Explanation

SECONDS = 3.0  # that one round of a loop lasts
RATE = 12  # frames a second of its file; each frame of the clip fades into the next
SIDE = 480  # pixels of the longer side, at most
CODECS = {"libx264": ".mp4", "libvpx": ".webm"}  # the first that this build of FFmpeg has
OPTIONS = {"libx264": {"crf": "26", "preset": "veryfast"}, "libvpx": {"crf": "28", "b": "800k"}}


def overlay_loop(explanation: Explanation, *, opacity: float = 0.7) -> str:
    """The frames of a clip under their map, as a file that Gradio serves.

    Raises:
        VideoError: nothing can be encoded here.
    """
    from hmdb.figures import overlay

    clip = explanation.prediction.clip
    drawn = overlay(clip.pixels, explanation.heat, opacity=opacity, region=explanation.region)
    with tempfile.TemporaryDirectory() as folder:
        return served(write_loop(faded(drawn, round(SECONDS * RATE / len(drawn))), Path(folder) / "map"))


def faded(frames: np.ndarray, steps: int) -> Iterable[np.ndarray]:
    """Each frame, uint8 (H, W, 3), then what lies between it and the next: `steps` of them for each.

    The last returns to the first only as the loop does, at once.
    """
    for index, frame in enumerate(frames):
        after = frames[min(index + 1, len(frames) - 1)]
        for step in range(max(steps, 1)):
            share = max(2 * step / max(steps, 1) - 1, 0.0)  # shown as it is for half of its time
            yield np.rint(frame * (1 - share) + after * share).astype(np.uint8) if share else frame


def write_loop(frames: Iterable[np.ndarray], target: Path) -> Path:
    """Writes uint8 frames (H, W, 3) of one size as a film without sound.

    Args:
        target: where to write; it gets the suffix of its container.

    Returns:
        Where it was written.

    Raises:
        VideoError: nothing can be encoded here.
    """
    import av

    codec = next((name for name in CODECS if name in av.codecs_available), None)
    if codec is None:
        raise VideoError("This build of FFmpeg can encode neither H.264 nor VP8, so there is no film of the map.")
    target = target.with_suffix(CODECS[codec])
    with av.open(str(target), "w") as container:
        stream = cast(av.VideoStream, container.add_stream(codec, rate=Fraction(RATE)))
        stream.pix_fmt, stream.options = "yuv420p", dict(OPTIONS[codec])
        for index, pixels in enumerate(frames):
            if index == 0:
                stream.width, stream.height = size = _even(*pixels.shape[1::-1])
            small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(small), format="rgb24")))
        container.mux(stream.encode())
    return target


def _even(width: int, height: int) -> tuple[int, int]:
    """At most SIDE, in even numbers, as 4:2:0 chroma needs them."""
    scale = min(SIDE / max(width, height), 1.0)
    return max(round(width * scale / 2) * 2, 2), max(round(height * scale / 2) * 2, 2)
