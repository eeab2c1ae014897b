"""Something that a browser can play, for a file that it cannot.

The file is read by the decoding processes. What is encoded here are pixels, few and small.
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
BATCH = 24  # frames decoded at once
SUFFIXES = {"mp4": (".mp4", ".m4v"), "webm": (".webm",)}  # by which a server tells a browser what it gets

# Chromium, Firefox and Safari all play 8 bits and 4:2:0 chroma of these codecs, in these containers; AV1, and VP9 in
# mp4, do not play in every Safari.
BROWSER_CODECS = {"mp4": frozenset({"h264"}), "webm": frozenset({"vp8", "vp9"})}
BROWSER_PIXEL_FORMATS = frozenset({"yuv420p", "yuvj420p"})


def plays_in_browser(path: str | Path, video: Video | None = None) -> bool:
    """Whether Chromium, Firefox and Safari all play this file, which needs a suffix that fits, too.

    Args:
        path: of the file.
        video: the same, if it is open already.

    Raises:
        VideoError: it cannot be read.
    """
    coded = (video or open_video(path)).format
    return (
        coded is not None
        and coded.codec in BROWSER_CODECS.get(coded.container, ())
        and coded.pixel_format in BROWSER_PIXEL_FORMATS
        and Path(path).suffix.lower() in SUFFIXES[coded.container]
    )


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
    size = fit_even(PREVIEW_SIDE, *video.size)

    def write(num_frames: int) -> Path:
        indices, rate = _shown(video, num_frames, seconds)
        return encode_video(_frames(video, indices), target, size, rate)

    return video.retry_on_recount(write)


def _shown(video: Video, num_frames: int, seconds: float) -> tuple[list[int], float]:
    """Which frames a preview shows, and how many a second."""
    fps = video.fps or PREVIEW_FPS
    step = max(fps / PREVIEW_FPS, 1.0)
    count = max(min(int(seconds * fps), num_frames), 1)
    return [int(i * step) for i in range(max(int(count / step), 1))], fps / step


def _frames(video: Video, indices: list[int]) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), BATCH):
        yield from video.frames_at(indices[start : start + BATCH]).pixels
