"""Encodes short silent videos that every browser plays."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from hmdb.errors import VideoError

SUFFIXES = {"libx264": ".mp4", "libvpx": ".webm"}  # by encoder, H.264 and VP8, in order of preference
ENCODER_OPTIONS = {"libx264": {"crf": "26", "preset": "veryfast"}, "libvpx": {"crf": "28", "b": "800k"}}
MUX_OPTIONS = {".mp4": {"movflags": "+faststart"}}  # so that a browser can start before it has the whole file


def encode_video(frames: Iterable[np.ndarray], target: str | Path, size: tuple[int, int], rate: float) -> Path:
    """Encodes frames as a video file.

    Args:
        frames: uint8 RGB (H, W, 3).
        target: path of the file; its suffix is replaced by that of the container.
        size: width and height in pixels, both even; frames are scaled to it.
        rate: frames per second.

    Returns:
        The path of the file.

    Raises:
        VideoError: FFmpeg has no suitable encoder, or the file cannot be written.
    """
    import av

    codec = next(filter(_has_encoder, SUFFIXES), None)
    if codec is None:
        raise VideoError("This build of FFmpeg can encode neither H.264 nor VP8, so there is no video to show.")
    target = Path(target).with_suffix(SUFFIXES[codec])
    try:
        with av.open(str(target), "w", options=MUX_OPTIONS.get(target.suffix, {})) as container:
            stream = cast(av.VideoStream, container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000)))
            stream.width, stream.height = size
            stream.pix_fmt, stream.options = "yuv420p", dict(ENCODER_OPTIONS[codec])
            for pixels in frames:
                scaled = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(scaled), format="rgb24")))
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"The video {target.name} cannot be written: {error.strerror}.") from error
    return target


def fit_even(side: int, width: int, height: int) -> tuple[int, int]:
    """Scales a size down to at most `side`, to even numbers, which 4:2:0 chroma needs.

    >>> fit_even(320, 642, 482)
    (320, 240)
    """
    scale = min(side / max(width, height), 1.0)
    return max(round(width * scale / 2) * 2, 2), max(round(height * scale / 2) * 2, 2)


def _has_encoder(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True
