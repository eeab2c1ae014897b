"""A long video as windows, the answers of the windows as segments, the segments as files.

A window is a range of source frames, sampled as though it were the whole video. Windows are spread so
that there are never more than MAX_WINDOWS of them, since each costs one forward pass: short videos get
windows that overlap by half, long ones windows with gaps between them.

    >>> windows(600, ClipSpec())  # 256 frames each
    (range(0, 256), range(115, 371), range(229, 485), range(344, 600))
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hmdb.clips.clip import ClipSpec
from hmdb.errors import VideoError

MAX_WINDOWS = 48  # forward passes that somebody waits for: about two minutes of TimeSformer-base on two cores
OVERLAP = 0.5  # of neighbouring windows, where MAX_WINDOWS allows it


def windows(num_source_frames: int, spec: ClipSpec, *, max_windows: int = MAX_WINDOWS) -> tuple[range, ...]:
    """The windows of a video, in order: the first begins with it, the last ends with it.

    Each spans what `spec` spans, num_frames * stride frames; a video no longer than that is one window.

    Raises:
        VideoError: a video without frames.
    """
    n, span = num_source_frames, spec.min_source_frames
    if n < 1:
        raise VideoError("The video has no frames.")
    if n <= span:
        return (range(n),)
    wanted = -(-(n - span) // max(int(span * (1 - OVERLAP)), 1)) + 1
    count = max(min(wanted, max_windows), 1)
    last = n - span
    starts = [round(i * last / (count - 1)) for i in range(count)] if count > 1 else [last // 2]
    return tuple(range(start, start + span) for start in starts)


def boundaries(of: Sequence[range]) -> tuple[int, ...]:
    """Where what each of these neighbouring windows stands for begins, and where the last ends: frames.

    A border lies in the middle between the centres of the windows beside it.
    """
    centres = [(window.start + window.stop) / 2 for window in of]
    return (0, *(round((a + b) / 2) for a, b in itertools.pairwise(centres)), of[-1].stop)


def chunked(of: Sequence[range], size: int) -> list[Sequence[range]]:
    """`size` neighbours at a time, in order, so that a video is read forward."""
    return [of[start : start + size] for start in range(0, len(of), size)]
