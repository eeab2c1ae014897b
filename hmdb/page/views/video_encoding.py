"""Short films without sound that every browser plays."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from hmdb.errors import VideoError

SUFFIXES = {"libx264": ".mp4", "libvpx": ".webm"}  # by encoder, H.264 and VP8; the first that this FFmpeg has is used
OPTIONS = {"libx264": {"crf": "26", "preset": "veryfast"}, "libvpx": {"crf": "28", "b": "800k"}}
INDEX_FIRST = {".mp4": {"movflags": "+faststart"}}  # so that it plays while it arrives


def encode_video(frames: Iterable[np.ndarray], target: str | Path, size: tuple[int, int], rate: float) -> Path:
    """Writes frames as a film.

    Args:
        frames: uint8 RGB (H, W, 3).
        target: where to write; it gets the suffix of its container.
        size: of the film, width and height in even numbers; each frame is scaled to it.
        rate: frames a second.

    Returns:
        Where it was written.

    Raises:
        VideoError: nothing can be encoded here, or not be written there.
    """
    import av

    codec = next(filter(_can_encode, SUFFIXES), None)
    if codec is None:
        raise VideoError("This build of FFmpeg can encode neither H.264 nor VP8, so there is no film to show.")
    target = Path(target).with_suffix(SUFFIXES[codec])
    try:
        with av.open(str(target), "w", options=INDEX_FIRST.get(target.suffix, {})) as container:
            stream = cast(av.VideoStream, container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000)))
            stream.width, stream.height = size
            stream.pix_fmt, stream.options = "yuv420p", dict(OPTIONS[codec])
            for pixels in frames:
                scaled = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(scaled), format="rgb24")))
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"The film {target.name} cannot be written: {error.strerror}.") from error
    return target


def fit_even(side: int, width: int, height: int) -> tuple[int, int]:
    """A size of at most `side`, in even numbers, as 4:2:0 chroma needs them.

    >>> fit_even(320, 642, 482)
    (320, 240)
    """
    scale = min(side / max(width, height), 1.0)
    return max(round(width * scale / 2) * 2, 2), max(round(height * scale / 2) * 2, 2)


def _can_encode(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True
