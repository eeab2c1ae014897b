"""Clips: the sampling settings and the sampled frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from hmdb.errors import ModelError

Sampler = Literal["uniform", "equidistant", "random", "centered"]
Extension = Literal["before", "after"]

SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
EXTENSIONS: tuple[Extension, ...] = get_args(Extension)

MAX_NUM_FRAMES = 256
REFERENCE_FPS = 30.0  # of HMDB51, whose strides are in frames
MAX_STRIDE = 1024  # frames; with MAX_NUM_FRAMES it bounds the size of an extension


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """Sampling settings of a clip, saved in a checkpoint's config.json.

    Attributes:
        num_frames: frames in a clip, 1 to 256. TimeSformer 8, ViViT 32.
        stride: source frames from one sampled frame to the next, for "uniform" and "centered".
        sampler: "uniform", "equidistant" or "random" (paper, section 3); "centered" is ViViT's.
        extension: "uniform" lengthens a short video "before" or "after" it samples (paper, table 5).
            The other samplers need no extension.

    Raises:
        ModelError: a value is out of range.
    """

    num_frames: int = 8
    stride: int = 32
    sampler: Sampler = "uniform"
    extension: Extension = "before"

    def __post_init__(self) -> None:
        for name, largest in (("num_frames", MAX_NUM_FRAMES), ("stride", MAX_STRIDE)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= largest:
                raise ModelError(f"{name} must be a whole number from 1 to {largest}, not {value!r}.")
        for name, known in (("sampler", SAMPLERS), ("extension", EXTENSIONS)):
            if getattr(self, name) not in known:
                raise ModelError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}.")

    @property
    def min_source_frames(self) -> int:
        """Frames that "uniform" needs to sample a video without extension: 8 x 32 = 256."""
        return self.num_frames * self.stride

    def at_rate(self, fps: float | None) -> ClipSpec:
        """The spec that spans the same time at this frame rate as this one at 30 fps; this one without a rate."""
        if fps is None:
            return self
        return replace(self, stride=min(max(round(self.stride * fps / REFERENCE_FPS), 1), MAX_STRIDE))

    def with_sampler(self, sampler: str | None) -> ClipSpec:
        """Replaces the sampler; None keeps it."""
        return self if sampler is None else replace(self, sampler=sampler)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> ClipSpec:
        """
        Raises:
            ModelError: not an object, an unknown setting, or a value out of range.
        """
        if not isinstance(values, Mapping):
            raise ModelError(f"A clip spec must be an object with settings, not {values!r}.")
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ModelError(
                f"The clip spec has settings that this version does not know: {', '.join(sorted(unknown))}."
            )
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ClipFrame:
    """The source of one frame of a clip.

    Attributes:
        sources: the 1 to 3 source frames that it is made of, as 0-based indices in ascending order.
        seconds: its timestamp in the video (the weighted mean of its sources'); None where the source has no
            clock, such as a folder of frames.
        kind: "real", or its operations joined by " + ": "interpolated", "reversed", "brightened".
    """

    sources: tuple[int, ...]
    seconds: float | None
    kind: str


# Grey levels by which the mean of a block must change. A photograph stays below 2.2 through x264 at CRF 33, also with
# noise of 4 grey levels, and a camera's JPEGs with noise of 8; the least of 32 real clips of actions, a smile, has 5.9.
STILL_GREY_LEVELS = 3.0
MOTION_BLOCK = 16  # pixels a side, at least; the mean over so many averages out the camera's noise
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def pixels_move(frames: np.ndarray) -> bool:
    """True if more than noise and compression changes between the frames: uint8 RGB, (T, H, W, 3)."""
    block = max(MOTION_BLOCK, min(frames.shape[1:3]) // 32)
    rows, columns = (max(side // block, 1) for side in frames.shape[1:3])
    frames = frames[:, : rows * block, : columns * block]
    high, wide = frames.shape[1] // rows, frames.shape[2] // columns
    # Whole numbers, and the rows of a block first: the other way round it takes ten times as long.
    lines = frames[:, : rows * high, : columns * wide].reshape(len(frames), rows, high, -1)
    sums = lines.sum(axis=2, dtype=np.uint32).reshape(len(frames), rows, columns, wide, 3).sum(axis=3)
    means = sums @ LUMA / (high * wide)
    return bool((means.max(axis=0) - means.min(axis=0)).max() > STILL_GREY_LEVELS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """The frames that a model classifies.

    Attributes:
        pixels: uint8 RGB, (T, H, W, 3).
        frames: the sources of the T frames.
        spec: sampling settings.
        decoder: "decord", "PyAV" or "folder".
        notes: descriptions of damage in the video, a line each.
    """

    pixels: np.ndarray
    frames: tuple[ClipFrame, ...]
    spec: ClipSpec
    decoder: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = f"uint8 ({len(self.frames)}, H, W, 3)"
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[::3] != (len(self.frames), 3):
            raise ValueError(f"clip pixels must be {expected}, got {self.pixels.dtype} {self.pixels.shape}")

    @property
    def moves(self) -> bool:
        """True if anything changes between the frames, apart from brightening that lengthened the video."""
        plain = [index for index, frame in enumerate(self.frames) if "brightened" not in frame.kind]
        moments = {frame.sources for frame in self.frames}
        if len(moments) < 2 or len(plain) < 2:
            return len(moments) > 1
        return pixels_move(self.pixels[plain])
