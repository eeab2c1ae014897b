"""What a video is to the rest of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from hmdb.errors import VideoError

T = TypeVar("T")


class RecountedError(VideoError):
    """A file turned out to have another number of frames than it announced.

    The video knows the true number by now: sample again.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Decoded frames.

    Attributes:
        pixels: uint8 RGB, (N, H, W, 3).
        seconds: when each is shown, by its timestamp on the clock of the video, as a player shows it;
            None where there is no clock.
    """

    pixels: np.ndarray
    seconds: tuple[float, ...] | None


class Video(ABC):
    """A video that is open for reading. It may be used by several threads.

    Attributes:
        num_frames: how many frames it has, at least 1.
        fps: mean frame rate; None where there is no clock.
        size: (width, height) in pixels of the frames, as they are delivered: upright, and reduced where
            the source is larger than `Limits.pixels`.
        decoder: who reads it: "decord", "PyAV" or "folder".
        note: what is wrong with it, in a line for people; None where nothing is known to be. Reading
            frames can change it, and `decoder`, as damage shows itself only then.
    """

    num_frames: int
    fps: float | None
    size: tuple[int, int]
    decoder: str = ""
    note: str | None = None

    @property
    def duration(self) -> float | None:
        """Length in seconds; None where there is no clock."""
        return self.num_frames / self.fps if self.fps else None

    @property
    def damaged(self) -> bool:
        return self.note is not None

    def seconds_at(self, indices: Sequence[int]) -> tuple[float, ...] | None:
        """When the frames at these indices are shown, on the clock of `Frames.seconds`; nothing is delivered
        for it. The index `num_frames` stands for the end: the last frame is shown for 1 / fps.

        Returns:
            Seconds, in the order of the indices; None where there is no clock, as here.

        Raises:
            RecountedError: the video is damaged, and its number of frames is another now.
            VideoError: there is no such frame, or it cannot be read.
        """
        return None

    @abstractmethod
    def frames_at(self, indices: Sequence[int]) -> Frames:
        """The frames at these 0-based indices, in that order; an index may come twice.

        Raises:
            RecountedError: the video is damaged, and its number of frames is another now.
            VideoError: a frame cannot be decoded.
        """


def recounted(work: Callable[[], T]) -> T:
    """What `work` returns. It is done once more where it finds that a file is damaged and has another number
    of frames than it announced, as the true number is known by then.
    """
    try:
        return work()
    except RecountedError:
        return work()
