"""Reads clips: samples a video, decodes only the frames that the sample needs, and renders the clip."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hmdb.clips.clip import Clip, ClipFrame, ClipSpec
from hmdb.clips.sampling import Gain, Mean, Reversed, Source, VirtualFrame, sample
from hmdb.errors import VideoError
from hmdb.video import Video, VideoLike, open_video


def read_clip(path: VideoLike, spec: ClipSpec, rng: random.Random | None = None) -> Clip:
    """Reads the clip of a video file, a folder of frames or an open video.

    Raises:
        VideoError: it cannot be read.
    """
    return take_clip(open_video(path), spec, rng)


def take_clip(video: Video, spec: ClipSpec, rng: random.Random | None = None) -> Clip:
    """Reads the clip of an open video. `rng` draws the frames of the "random" sampler.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    return video.retry_on_recount(lambda num_frames: next(take_clips(video, spec, [range(num_frames)], rng)))


def take_clips(
    video: Video, spec: ClipSpec, windows: Sequence[range], rng: random.Random | None = None
) -> Iterator[Clip]:
    """Yields the clip of each window of an open video, sampled as if the window were the video.

    All frames that the windows need are decoded once, in ascending order; the clips are rendered one by one. Windows
    depend on the number of frames, so call this within `Video.retry_on_recount`.

    Raises:
        VideoError: a frame cannot be decoded.
    """
    sampled = [(window.start, sample(len(window), spec, rng)) for window in windows]
    needed = sorted({start + index for start, virtual in sampled for frame in virtual for index in frame.weights})
    decoded = video.frames_at(needed)
    pixels = dict(zip(needed, decoded.pixels, strict=True))
    seconds = dict(zip(needed, decoded.seconds, strict=True)) if decoded.seconds else None
    notes = (video.note,) if video.note else ()
    for start, virtual in sampled:
        here = {index: pixels[start + index] for frame in virtual for index in frame.weights}
        try:
            rendered = np.stack([render(frame, here) for frame in virtual])
        except MemoryError as error:
            raise VideoError("The frames of this video are too large for the memory of this machine.") from error
        frames = tuple(
            ClipFrame(
                sources=tuple(start + index for index in frame.sources),
                seconds=sum(weight * seconds[start + index] for index, weight in frame.weights.items())
                if seconds
                else None,
                kind=frame.kind,
            )
            for frame in virtual
        )
        yield Clip(pixels=rendered, frames=frames, spec=spec, decoder=video.decoder, notes=notes)


def render(frame: VirtualFrame, pixels: Mapping[int, np.ndarray]) -> np.ndarray:
    """Computes the pixels of a virtual frame, uint8 (H, W, 3), from those of its sources, of the same shape.

    Each gain clips to 0..255; rounding happens once, at the end.
    """
    values = _evaluate(frame, pixels)
    return values if values.dtype == np.uint8 else np.rint(values).astype(np.uint8)


def _evaluate(frame: VirtualFrame, pixels: Mapping[int, np.ndarray]) -> np.ndarray:
    """Returns float32, or uint8 where nothing was computed."""
    match frame:
        case Source(index):
            return pixels[index]
        case Reversed(inner):
            return _evaluate(inner, pixels)
        case Gain(inner, factor):
            gained: np.ndarray = np.multiply(_evaluate(inner, pixels), factor, dtype=np.float32)
            return gained.clip(0, 255)
        case Mean(first, second):
            total: np.ndarray = np.add(_evaluate(first, pixels), _evaluate(second, pixels), dtype=np.float32)
            return total / 2
    raise TypeError(f"not a virtual frame: {frame!r}")
