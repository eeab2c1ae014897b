"""A file or a folder of frames -> its frames. The only place that decodes.

decord decodes; where it has no wheel, PyAV does. Both are imported only when a file is opened, so
that folders of frames need neither.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hmdb.errors import VideoError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
VIDEO_SUFFIXES = frozenset(
    {".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp", ".ogv", ".gif"}
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Decoded frames.

    Attributes:
        pixels: uint8 RGB, (N, H, W, 3).
        seconds: when each is shown, from the start of the video; None where there is no clock.
    """

    pixels: np.ndarray
    seconds: tuple[float, ...] | None


class Video(ABC):
    """A video that is open for reading.

    Attributes:
        num_frames: how many frames it has, at least 1.
        fps: mean frame rate; None for a folder of frames.
        size: (width, height) in pixels, as it is shown.
    """

    num_frames: int
    fps: float | None
    size: tuple[int, int]

    @property
    def duration(self) -> float | None:
        """Seconds from first to last; None for a folder of frames."""
        return self.num_frames / self.fps if self.fps else None

    @abstractmethod
    def frames_at(self, indices: Sequence[int]) -> Frames:
        """The frames at these 0-based indices, in that order.

        Raises:
            VideoError: a frame cannot be decoded.
        """


def open_video(path: str | Path) -> Video:
    """Opens a video file or a folder of frames.

    Raises:
        VideoError: nothing there, or nothing that can be read as a video.
    """
    path = Path(path)
    if path.is_dir():
        return FrameFolder(path)
    if not path.exists():
        raise VideoError(f"{path.name}: there is no such file.")
    if path.stat().st_size == 0:
        raise VideoError(f"{path.name} is empty (0 bytes).")
    try:
        import decord  # noqa: F401
    except ImportError:
        return PyAVVideo(path)
    return DecordVideo(path)


def is_frame_folder(path: Path) -> bool:
    return path.is_dir() and any(child.suffix.lower() in IMAGE_SUFFIXES for child in path.iterdir())


def frame_paths(folder: Path) -> list[Path]:
    """The images of a folder in natural order: frame 2 before frame 10."""
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(
        images, key=lambda path: [(int(n), "") if n.isdigit() else (0, n) for n in re.split(r"(\d+)", path.name)]
    )


def _not_a_video(path: Path) -> VideoError:
    return VideoError(f"{path.name} cannot be read as a video. Try an mp4, webm, mov or avi file with a picture track.")


class FrameFolder(Video):
    """A folder of images in natural order is a video without a clock."""

    fps = None

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._paths = frame_paths(path)
        if not self._paths:
            raise VideoError(f"{path.name} holds no frames ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        self.num_frames = len(self._paths)
        self.size = self._read(0).size

    def _read(self, index: int) -> Image.Image:
        path = self._paths[index]
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(f"{self._name}/{path.name} cannot be read as an image.") from error

    def frames_at(self, indices: Sequence[int]) -> Frames:
        images = [self._read(index) for index in indices]
        for index, image in zip(indices, images, strict=True):
            if image.size != self.size:
                raise VideoError(
                    f"{self._name}: the frames differ in size ({self._paths[0].name} is {self.size}, "
                    f"{self._paths[index].name} is {image.size})."
                )
        return Frames(pixels=np.stack([np.asarray(image) for image in images]), seconds=None)


class DecordVideo(Video):
    """A file read by decord, with one thread: more give wrong frames for VP9 and AVI."""

    def __init__(self, path: Path) -> None:
        import decord

        try:
            self._reader = decord.VideoReader(str(path.absolute()), num_threads=1)
            self.num_frames = len(self._reader)
            self.fps = float(self._reader.get_avg_fps())
            height, width, _ = self._reader[0].shape
        except Exception as error:  # decord raises its own errors, RuntimeError and IndexError
            raise _not_a_video(path) from error
        self.size = (width, height)
        self._name = path.name

    def frames_at(self, indices: Sequence[int]) -> Frames:
        try:
            pixels = self._reader.get_batch(list(indices)).asnumpy()
            seconds = self._reader.get_frame_timestamp(list(indices))[:, 0]
        except Exception as error:
            raise VideoError(f"{self._name} is damaged: some of its frames cannot be decoded.") from error
        return Frames(pixels=pixels, seconds=tuple(float(second) for second in seconds))


class PyAVVideo(Video):
    """A file read by PyAV, from the start to the last frame that is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        seconds = []
        for second, frame in self._decoded():
            seconds.append(second)
            self.size = (frame.width, frame.height)
        if not seconds:
            raise _not_a_video(path)
        self.num_frames = len(seconds)
        length = seconds[-1] - seconds[0]
        self.fps = (len(seconds) - 1) / length if length > 0 else 1.0

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        import av

        try:
            with av.open(str(self._path)) as container:
                for frame in container.decode(video=0):
                    yield frame.time or 0.0, frame
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise _not_a_video(self._path) from error

    def frames_at(self, indices: Sequence[int]) -> Frames:
        wanted, found = set(indices), {}
        for index, (second, frame) in enumerate(self._decoded()):
            if index in wanted:
                found[index] = (second, frame.to_ndarray(format="rgb24"))
                if len(found) == len(wanted):
                    break
        return Frames(
            pixels=np.stack([found[index][1] for index in indices]),
            seconds=tuple(found[index][0] for index in indices),
        )
