"""Previews: short, small videos in place of files that browsers cannot play.

The decoding processes read the file; this process encodes a few small pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hmdb.page.views.video_encoding import encode_video, fit_even
from hmdb.video import Video, VideoLike, open_video

PREVIEW_SECONDS = 12  # at most, from the start of the video
PREVIEW_FPS = 12  # at most
PREVIEW_SIDE = 320  # pixels of the longer side, at most
BATCH_FRAMES = 24  # decoded at once
SUFFIXES = {"mp4": (".mp4", ".m4v"), "webm": (".webm",)}  # a server derives the media type from them

# Chromium, Firefox and Safari all play 8 bits and 4:2:0 chroma of these codecs, in these containers; AV1, and VP9 in
# mp4, do not play in every Safari.
BROWSER_CODECS = {"mp4": frozenset({"h264"}), "webm": frozenset({"vp8", "vp9"})}
BROWSER_PIXEL_FORMATS = frozenset({"yuv420p", "yuvj420p"})


def plays_in_browser(path: str | Path, video: Video | None = None) -> bool:
    """True if Chromium, Firefox and Safari all play this file: codec, pixel format, container and suffix fit.

    Args:
        path: of the file.
        video: the same file, if it is already open.

    Raises:
        VideoError: the file cannot be read.
    """
    coded = (video or open_video(path)).format
    return (
        coded is not None
        and coded.codec in BROWSER_CODECS.get(coded.container, ())
        and coded.pixel_format in BROWSER_PIXEL_FORMATS
        and Path(path).suffix.lower() in SUFFIXES[coded.container]
    )


def make_preview(path: VideoLike, target: str | Path, *, seconds: float = PREVIEW_SECONDS) -> Path:
    """Encodes the start of a video, small and without sound, for browsers.

    A folder of frames plays at PREVIEW_FPS.

    Args:
        path: path of the video, or an open `Video`.
        target: path of the preview; the suffix becomes ".mp4", or ".webm" if FFmpeg has no H.264 encoder.
        seconds: length of the preview, at most.

    Returns:
        The path of the preview.

    Raises:
        VideoError: the video cannot be read, or FFmpeg has no suitable encoder.
    """
    video = open_video(path)
    size = fit_even(PREVIEW_SIDE, *video.size)

    def write(num_frames: int) -> Path:
        indices, rate = _sample(video, num_frames, seconds)
        return encode_video(_decode(video, indices), target, size, rate)

    return video.retry_on_recount(write)


def _sample(video: Video, num_frames: int, seconds: float) -> tuple[list[int], float]:
    """The indices of the frames of a preview, and its frame rate."""
    fps = video.fps or PREVIEW_FPS
    step = max(fps / PREVIEW_FPS, 1.0)
    count = max(min(int(seconds * fps), num_frames), 1)
    return [int(i * step) for i in range(max(int(count / step), 1))], fps / step


def _decode(video: Video, indices: list[int]) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), BATCH_FRAMES):
        yield from video.frames_at(indices[start : start + BATCH_FRAMES]).pixels
