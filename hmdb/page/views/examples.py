"""The videos that visitors may try, as pictures with their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hmdb.text import label_words
from hmdb.video import open_video


def example_names(clips: Sequence[Path]) -> list[str]:
    """What each shows, as people write it."""
    return [label_words(clip.stem) for clip in clips]


def middle_frame(clip: Path) -> np.ndarray:
    """A frame from the middle, uint8 RGB (H, W, 3)."""
    video = open_video(clip)
    frame: np.ndarray = video.frames_at([video.num_frames // 2]).pixels[0]
    return frame
