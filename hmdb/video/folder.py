"""A folder of images in natural order, read as a video without a clock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hmdb.errors import VideoError
from hmdb.text import display_name
from hmdb.video.limits import Limits
from hmdb.video.sniff import VIDEO_SUFFIXES
from hmdb.video.video import Frames, Video

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP")  # that Pillow may decode, whatever the suffix


def is_frame_folder(path: Path) -> bool:
    return path.is_dir() and any(map(_is_frame, path.iterdir()))


def frame_paths(folder: Path) -> list[Path]:
    """Lists the images of a folder in natural order: frame 2 before frame 10."""
    return sorted(filter(_is_frame, folder.iterdir()), key=_natural)


def _is_frame(path: Path) -> bool:
    """Judges by the name. A leading dot marks a file of the system: macOS writes ._1.jpg next to 1.jpg."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts], path.name


class FrameFolder(Video):
    """A folder of images, all of one size."""

    fps = None
    decoder = "folder"
    note = None

    def __init__(self, path: Path, limits: Limits) -> None:
        self._name = display_name(path)
        self._paths = frame_paths(path)
        if not self._paths:
            videos = any(each.suffix.lower() in VIDEO_SUFFIXES for each in path.iterdir())
            what = "frames" if videos else "videos or frames"
            raise VideoError(f"{self._name} holds no {what} ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        self.num_frames = len(self._paths)
        if self.num_frames > limits.frames:
            raise VideoError(f"{self._name} holds {self.num_frames} frames; at most {limits.frames} can be read.")
        sizes = [self._source_size(index) for index in range(self.num_frames)]
        width, height = sizes[0]
        for index, size in enumerate(sizes):
            if size != sizes[0]:
                raise VideoError(
                    f"{self._name}: the frames differ in size ({display_name(self._paths[0])} is {width} x {height}, "
                    f"{display_name(self._paths[index])} is {size[0]} x {size[1]})."
                )
        if width * height > limits.source_pixels:
            raise VideoError(
                f"{self._name}: the frames are {width} x {height} pixels, "
                f"more than the {limits.source_pixels / 1e6:.0f} megapixels that can be read."
            )
        self.size = limits.fitted(width, height)

    def _source_size(self, index: int) -> tuple[int, int]:
        try:
            with Image.open(self._paths[index], formats=FORMATS) as image:
                return image.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise self._unreadable(index) from error

    def _read(self, index: int) -> np.ndarray:
        try:
            with Image.open(self._paths[index], formats=FORMATS) as image:
                image.draft("RGB", self.size)  # a large JPEG is decoded at a half, a quarter or an eighth
                rgb = image.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise self._unreadable(index) from error
        return np.asarray(rgb if rgb.size == self.size else rgb.resize(self.size, Image.Resampling.BILINEAR))

    def _unreadable(self, index: int) -> VideoError:
        return VideoError(f"{self._name}/{display_name(self._paths[index])} cannot be read as an image.")

    def frames_at(self, indices: Sequence[int]) -> Frames:
        for index in indices:
            if not 0 <= index < self.num_frames:
                raise VideoError(f"{self._name} has {self.num_frames} frames and no frame {index}.")
        width, height = self.size
        pixels = np.empty((len(indices), height, width, 3), np.uint8)
        for place, index in enumerate(indices):
            pixels[place] = self._read(index)
        return Frames(pixels=pixels, seconds=None)
