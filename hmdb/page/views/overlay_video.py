"""The explanation map of a clip as a short silent video that loops."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hmdb.page.server.file_store import publish_copy
from hmdb.page.views.video_encoding import encode_video, fit_even

if TYPE_CHECKING:
    from hmdb.results import Explanation

LOOP_SECONDS = 3.0  # length of the video
LOOP_FPS = 12  # frames per second; each frame of the clip fades into the next
MAX_SIDE = 480  # pixels, the most for the longer side


def overlay_loop(explanation: Explanation, *, opacity: float = 0.7) -> str:
    """Encodes the frames of a clip under their map, into a file that the current client may fetch.

    Raises:
        VideoError: FFmpeg has no suitable encoder.
    """
    from hmdb.figures import overlay

    clip = explanation.prediction.clip
    drawn = overlay(clip.pixels, explanation.heat, opacity=opacity, region=explanation.region)
    frames = crossfade(drawn, round(LOOP_SECONDS * LOOP_FPS / len(drawn)))
    size = fit_even(MAX_SIDE, drawn.shape[2], drawn.shape[1])
    with tempfile.TemporaryDirectory() as folder:
        return publish_copy(encode_video(frames, Path(folder) / "map", size, LOOP_FPS))


def crossfade(frames: np.ndarray, steps: int) -> Iterable[np.ndarray]:
    """Yields `steps` frames, uint8 (H, W, 3), for each frame: it stands for half of them, then fades into the next.

    The last frame does not fade; the loop cuts back to the first.
    """
    for index, frame in enumerate(frames):
        after = frames[min(index + 1, len(frames) - 1)]
        for step in range(max(steps, 1)):
            weight = max(2 * step / max(steps, 1) - 1, 0.0)  # of the next frame
            yield np.rint(frame * (1 - weight) + after * weight).astype(np.uint8) if weight else frame
