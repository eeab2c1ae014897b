"""What a video is to the rest of the library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from hmdb.errors import VideoError

T = TypeVar("T")


class FrameCountChangedError(VideoError):
    """A file turned out to have another number of frames than it announced; the video knows the true number by now.

    Only `Video` catches it: work on a whole video goes through `Video.counted`.
    """


@dataclass(frozen=True, kw_only=True)
class StreamFormat:
    """How a file is coded, as FFmpeg names it.

    Attributes:
        container: "mp4", "mov", "webm", "matroska", "avi", "mpegts", ...
        codec: "h264", "hevc", "vp9", "mpeg4", ...
        profile: "High", "Profile 0", ...; empty where the codec has none.
        pixel_format: of the decoded pictures: "yuv420p", "yuv420p10le", ...
    """

    container: str
    codec: str
    profile: str
    pixel_format: str


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
        format: how it is coded; None for a folder.
        decoder: who reads it: "decord", "PyAV" or "folder".
        note: what is wrong with it, in a line for people; None where nothing is known to be. Reading
            frames can change it, and `decoder`, as damage shows itself only then.
    """

    num_frames: int
    fps: float | None
    size: tuple[int, int]
    format: StreamFormat | None = None
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
            VideoError: there is no such frame, or it cannot be read.
        """
        return None

    @abstractmethod
    def frames_at(self, indices: Sequence[int]) -> Frames:
        """The frames at these 0-based indices, in that order; an index may come twice.

        Raises:
            VideoError: a frame cannot be decoded, or the video turns out damaged and `num_frames` changes;
                work that goes through `counted` is done again then.
        """

    def counted(self, work: Callable[[int], T]) -> T:
        """What `work` makes of the video and its number of frames.

        Where reading shows that a damaged file has another number of frames than it announced, the work is
        done once more, with the true number.

        Raises:
            VideoError: what `work` raises.
        """
        try:
            return work(self.num_frames)
        except FrameCountChangedError:
            return work(self.num_frames)

    def counted_each(self, work: Callable[[int], Generator[T]]) -> Generator[T]:
        """As `counted`, for work that yields its results one by one: after a recount, from the first again."""
        try:
            yield from work(self.num_frames)
        except FrameCountChangedError:
            yield from work(self.num_frames)
