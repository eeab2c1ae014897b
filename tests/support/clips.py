"""Small clips, as arrays, videos, mp4 files and folders of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from hmdb.video import Frames, Video


def moving_bar(num_frames: int, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """Draws a bright bar that moves over a dark field, so that all frames differ: uint8 (N, H, W, 3)."""
    width, height = size
    frames = np.full((num_frames, height, width, 3), (30, 60, 45), np.uint8)
    for index, frame in enumerate(frames):
        left = index * (width - 20) // max(num_frames - 1, 1)
        frame[height // 4 : -height // 4, left : left + 20] = (240, 180, 60)
    return frames


def encode(
    path: Path,
    codec: str,
    frames: np.ndarray,
    fps: int = 25,
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    **mux: str,
) -> Path:
    """Writes frames, uint8 (N, H, W, 3), as a video in the format of the file name's suffix.

    Args:
        options: of the codec.
        mux: options of the container.
    """
    with av.open(str(path), "w", options=mux) as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.options = dict(options or {})
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_mp4(path: Path, frames: np.ndarray, fps: int = 25) -> Path:
    return encode(path, "libx264", frames, fps)


def write_frames(folder: Path, frames: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{index}{suffix}")
    return folder


class NumberedVideo(Video):
    """A video of 25 fps in which each pixel of a frame is the frame's index modulo 256. It records the requests."""

    def __init__(self, num_frames: int) -> None:
        self.num_frames, self.fps, self.size = num_frames, 25.0, (4, 2)
        self.requests: list[list[int]] = []

    def seconds_at(self, indices: Sequence[int]) -> tuple[float, ...]:
        return tuple(index / 25 for index in indices)

    def frames_at(self, indices: Sequence[int]) -> Frames:
        self.requests.append(list(indices))
        pixels = np.stack([np.full((2, 4, 3), index % 256, np.uint8) for index in indices])
        return Frames(pixels=pixels, seconds=self.seconds_at(indices))
