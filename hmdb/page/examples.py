"""The videos that visitors may try, as pictures with their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hmdb.text import readable
from hmdb.video import open_video


def posters(clips: Sequence[Path]) -> list[tuple[np.ndarray, str]]:
    """A frame from the middle of each, uint8 RGB (H, W, 3), and what it shows."""
    return [(_middle(clip), readable(clip.stem)) for clip in clips]


def _middle(clip: Path) -> np.ndarray:
    video = open_video(clip)
    frame: np.ndarray = video.frames_at([video.num_frames // 2]).pixels[0]
    return frame
