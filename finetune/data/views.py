"""Several looks at one video, whose answers are averaged: clips from several moments, and crops side by side."""

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

MOST = 64  # views of a video


@dataclass(frozen=True, kw_only=True)
class CropView:
    """One look at a video.

    Attributes:
        moment, of_moments: the which-th of so many windows of it, spread evenly; a video that is no longer than a
            clip spans is one window, whatever the number.
        crop, of_crops: the which-th of so many squares along the longer side of a frame; all of the frame where there
            is one.
    """

    moment: int = 0
    of_moments: int = 1
    crop: int = 0
    of_crops: int = 1

    def pixels(self, video: VideoLike, spec: ClipSpec, rng: random.Random | None = None) -> np.ndarray:
        """uint8 (T, H, W, 3): what is seen.

        Raises:
            VideoError: it cannot be read.
        """
        opened = open_video(video)
        clip = opened.retry_on_recount(lambda frames: next(take_clips(opened, spec, [self._window(frames, spec)], rng)))
        return self._square(clip.pixels)

    def _window(self, frames: int, spec: ClipSpec) -> range:
        if self.of_moments == 1:
            return range(frames)
        found = windows(frames, spec, max_windows=self.of_moments)
        return found[round(self.moment * (len(found) - 1) / (self.of_moments - 1))]

    def _square(self, pixels: np.ndarray) -> np.ndarray:
        if self.of_crops == 1:
            return pixels
        height, width = pixels.shape[1:3]
        side = min(height, width)
        top, left = ((long - side) * self.crop // (self.of_crops - 1) for long in (height, width))
        return pixels[:, top : top + side, left : left + side]


WHOLE_FRAME = CropView()


def crop_views(text: str) -> tuple[CropView, ...]:
    """The views that "4x3" names: clips from 4 moments, 3 crops of each.

    Raises:
        DataError: it is not of that kind.
    """
    found = re.fullmatch(r"(\d{1,2})x(\d{1,2})", text)
    moments, crops = map(int, found.groups()) if found else (0, 0)
    if not 1 <= moments * crops <= MOST:
        raise DataError(f"--views {text} is no MOMENTSxCROPS, such as 1x3 or 4x3, of {MOST} views at most.")
    return tuple(
        CropView(moment=moment, of_moments=moments, crop=crop, of_crops=crops)
        for moment in range(moments)
        for crop in range(crops)
    )
