"""Small clips, as arrays, mp4 files and folders of frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image


def moving_bar(num_frames: int, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """uint8 (N, H, W, 3): a bright bar that wanders over a dark field, so that every frame differs."""
    width, height = size
    frames = np.full((num_frames, height, width, 3), (30, 60, 45), np.uint8)
    for index, frame in enumerate(frames):
        left = index * (width - 20) // max(num_frames - 1, 1)
        frame[height // 4 : -height // 4, left : left + 20] = (240, 180, 60)
    return frames


def write_mp4(path: Path, frames: np.ndarray, fps: int = 25) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_frames(folder: Path, frames: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{index}{suffix}")
    return folder
