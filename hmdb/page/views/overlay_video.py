"""Short films without sound that a browser plays in a loop: the frames of a clip under their map."""

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

LOOP_SECONDS = 3.0  # that one round of a loop lasts
LOOP_FPS = 12  # frames a second of its file; each frame of the clip fades into the next
MAX_SIDE = 480  # pixels of the longer side, at most


def overlay_loop(explanation: Explanation, *, opacity: float = 0.7) -> str:
    """The frames of a clip under their map, as a file that Gradio serves.

    Raises:
        VideoError: nothing can be encoded here.
    """
    from hmdb.figures import overlay

    clip = explanation.prediction.clip
    drawn = overlay(clip.pixels, explanation.heat, opacity=opacity, region=explanation.region)
    fading, size = (
        crossfade(drawn, round(LOOP_SECONDS * LOOP_FPS / len(drawn))),
        fit_even(MAX_SIDE, drawn.shape[2], drawn.shape[1]),
    )
    with tempfile.TemporaryDirectory() as folder:
        return publish_copy(encode_video(fading, Path(folder) / "map", size, LOOP_FPS))


def crossfade(frames: np.ndarray, steps: int) -> Iterable[np.ndarray]:
    """Each frame, uint8 (H, W, 3), then what lies between it and the next: `steps` of them for each.

    The last returns to the first only as the loop does, at once.
    """
    for index, frame in enumerate(frames):
        after = frames[min(index + 1, len(frames) - 1)]
        for step in range(max(steps, 1)):
            share = max(2 * step / max(steps, 1) - 1, 0.0)  # shown as it is for half of its time
            yield np.rint(frame * (1 - share) + after * share).astype(np.uint8) if share else frame
