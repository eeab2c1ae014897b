"""The interface of a video: its frames, its format, and work that survives a wrong frame count."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from hmdb.errors import VideoError

T = TypeVar("T")


class FrameCountChangedError(VideoError):
    """A damaged file has another number of frames than it declares; `num_frames` is the true number by now.

    Only `Video` catches it: work on a whole video goes through `Video.retry_on_recount`.
    """


@dataclass(frozen=True, kw_only=True)
class StreamFormat:
    """Codec, container and pixel format of a file, by FFmpeg's names.

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
        seconds: when a player shows each, by its timestamp; None without a clock.
    """

    pixels: np.ndarray
    seconds: tuple[float, ...] | None


class Video(ABC):
    """A video that is open for reading. Threads may share it.

    Attributes:
        num_frames: at least 1.
        fps: mean frame rate; None without a clock.
        size: (width, height) in pixels of the frames as they are delivered: upright, and reduced where
            the source is larger than `Limits.pixels`.
        format: None for a folder.
        decoder: "decord", "PyAV" or "folder".
        note: a one-line description of damage; None where none is known. Reading frames can change it, and
            `decoder`, as damage shows only then.
    """

    num_frames: int
    fps: float | None
    size: tuple[int, int]
    format: StreamFormat | None = None
    decoder: str = ""
    note: str | None = None

    @property
    def duration(self) -> float | None:
        """Length in seconds; None without a clock."""
        return self.num_frames / self.fps if self.fps else None

    @property
    def damaged(self) -> bool:
        return self.note is not None

    def seconds_at(self, indices: Sequence[int]) -> tuple[float, ...] | None:
        """Returns the timestamps of the frames at these indices, as in `Frames.seconds`, without the frames.
        The index `num_frames` stands for the end: the last frame is shown for 1 / fps.

        Returns:
            Seconds, in the order of the indices; None without a clock.

        Raises:
            VideoError: there is no such frame, or it cannot be read.
        """
        return None

    @abstractmethod
    def frames_at(self, indices: Sequence[int]) -> Frames:
        """Decodes the frames at these 0-based indices, in that order; an index may come twice.

        Raises:
            VideoError: a frame cannot be decoded.
            FrameCountChangedError: the video is damaged and `num_frames` has changed; `retry_on_recount`
                repeats the work then.
        """

    def retry_on_recount(self, work: Callable[[int], T]) -> T:
        """Calls `work` with the number of frames, and once more if reading shows that a damaged file has
        another number of frames than it declares.

        Raises:
            VideoError: raised by `work`.
        """
        try:
            return work(self.num_frames)
        except FrameCountChangedError:
            return work(self.num_frames)

    def iterate_with_recount(self, work: Callable[[int], Generator[T]]) -> Generator[T]:
        """Generator version of `retry_on_recount`; restarts from the first result if the frame count changes."""
        try:
            yield from work(self.num_frames)
        except FrameCountChangedError:
            yield from work(self.num_frames)
