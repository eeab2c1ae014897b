"""Test-time views: clips from several moments of a video, and several crops, whose probabilities are averaged."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import numpy as np

from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import take_clips
from hmdb.clips.windows import windows
from hmdb.errors import DataError
from hmdb.video import VideoLike, open_video

MAX_VIEWS = 64  # of a video


@dataclass(frozen=True, kw_only=True)
class CropView:
    """A test-time view of a video.

    Attributes:
        moment, of_moments: index and number of the evenly spaced windows of the video; a video no longer than a clip
            is a single window.
        crop, of_crops: index and number of the square crops along the longer side of a frame; a single crop is the
            whole frame.
    """

    moment: int = 0
    of_moments: int = 1
    crop: int = 0
    of_crops: int = 1

    def pixels(self, video: VideoLike, spec: ClipSpec, rng: random.Random | None = None) -> np.ndarray:
        """The frames of the view, uint8 (T, H, W, 3).

        Raises:
            VideoError: it cannot be read.
        """
        opened = open_video(video)
        clip = opened.retry_on_recount(lambda frames: next(take_clips(opened, spec, [self._window(frames, spec)], rng)))
        return self._square(clip.pixels)

    def _window(self, frames: int, spec: ClipSpec) -> range:
        if self.of_moments == 1:
            return range(frames)
        spans = windows(frames, spec, max_windows=self.of_moments)
        return spans[round(self.moment * (len(spans) - 1) / (self.of_moments - 1))]

    def _square(self, pixels: np.ndarray) -> np.ndarray:
        if self.of_crops == 1:
            return pixels
        height, width = pixels.shape[1:3]
        side = min(height, width)
        top, left = ((long - side) * self.crop // (self.of_crops - 1) for long in (height, width))
        return pixels[:, top : top + side, left : left + side]


def crop_views(text: str) -> tuple[CropView, ...]:
    """Parses the notation of views: "4x3" is 4 moments with 3 crops each.

    Raises:
        DataError: another notation, or too many views.
    """
    match = re.fullmatch(r"(\d{1,2})x(\d{1,2})", text)
    moments, crops = map(int, match.groups()) if match else (0, 0)
    if not 1 <= moments * crops <= MAX_VIEWS:
        raise DataError(f"--views {text} is not MOMENTSxCROPS, such as 1x3 or 4x3, with at most {MAX_VIEWS} views.")
    return tuple(
        CropView(moment=moment, of_moments=moments, crop=crop, of_crops=crops)
        for moment in range(moments)
        for crop in range(crops)
    )
