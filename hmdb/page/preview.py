"""Something that a browser can play, for a file that it cannot.

The file is read by the decoding processes. What is encoded here are pixels, few and small.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from hmdb.errors import VideoError
from hmdb.video import Video, VideoLike, open_video

PREVIEW_SECONDS = 12  # at most, from the start of the video
PREVIEW_FPS = 12  # at most
PREVIEW_SIDE = 320  # pixels of the longer side, at most
BATCH = 24  # frames decoded at once
CODECS = ("libx264", "libvpx")  # the first that this build of FFmpeg has: H.264 in mp4, VP8 in webm
SUFFIXES = {"mp4": (".mp4", ".m4v"), "webm": (".webm",)}  # by which a server tells a browser what it gets


def plays_in_browser(path: str | Path) -> bool:
    """Whether Chromium, Firefox and Safari all play this file, which needs a suffix that fits, too.

    Raises:
        VideoError: it cannot be read.
    """
    path = Path(path)
    coded = open_video(path).format
    return coded is not None and coded.plays_in_browsers and path.suffix.lower() in SUFFIXES[coded.container]


def make_preview(path: VideoLike, target: str | Path, *, seconds: float = PREVIEW_SECONDS) -> Path:
    """Writes the beginning of a video, small and without sound, as a file that browsers play.

    A folder of frames is shown at PREVIEW_FPS.

    Args:
        path: of the video, or a `Video` that is open.
        target: where to write; the suffix is replaced by ".mp4", or ".webm" where there is no H.264 encoder.
        seconds: of the video to show, at most.

    Returns:
        Where it was written.

    Raises:
        VideoError: the video cannot be read, or nothing can be encoded here.
    """
    video = open_video(path)
    codec = next((name for name in CODECS if _can_encode(name)), None)
    if codec is None:
        raise VideoError("This build of FFmpeg can encode neither H.264 nor VP8, so there is no preview.")
    target = Path(target).with_suffix(".mp4" if codec == "libx264" else ".webm")
    video.counted(lambda num_frames: _write(video, target, codec, _shown(video, num_frames, seconds)))
    return target


def _write(video: Video, target: Path, codec: str, shown: tuple[list[int], float]) -> None:
    import av

    indices, rate = shown
    width, height = _small(*video.size)
    options = {"movflags": "+faststart"} if codec == "libx264" else {}
    try:
        with av.open(str(target), "w", options=options) as container:
            stream = cast(av.VideoStream, container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000)))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.options = {"crf": "28", "preset": "veryfast"} if codec == "libx264" else {"crf": "30", "b": "600k"}
            for pixels in _frames(video, indices):
                small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(small), format="rgb24")))
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"The preview {target.name} cannot be written.") from error


def _shown(video: Video, num_frames: int, seconds: float) -> tuple[list[int], float]:
    """Which frames a preview shows, and how many a second."""
    fps = video.fps or PREVIEW_FPS
    step = max(fps / PREVIEW_FPS, 1.0)
    count = max(min(int(seconds * fps), num_frames), 1)
    return [int(i * step) for i in range(max(int(count / step), 1))], fps / step


def _frames(video: Video, indices: list[int]) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), BATCH):
        yield from video.frames_at(indices[start : start + BATCH]).pixels


def _small(width: int, height: int) -> tuple[int, int]:
    """The size of the preview: even numbers, as 4:2:0 chroma needs them."""
    scale = min(PREVIEW_SIDE / max(width, height), 1.0)
    return max(round(width * scale / 2) * 2, 2), max(round(height * scale / 2) * 2, 2)


def _can_encode(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True
