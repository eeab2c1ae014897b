"""Splits a long video into windows.

A window is a range of source frames, sampled as if it were the whole video. Each costs a forward pass, so there are
never more than MAX_WINDOWS: in short videos they overlap by half, in long ones there are gaps between them, of which
nothing is known.

    >>> windows(600, ClipSpec())  # 256 frames each
    (range(0, 256), range(115, 371), range(229, 485), range(344, 600))
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hmdb.clips.clip import ClipSpec
from hmdb.errors import VideoError

MAX_WINDOWS = 48  # forward passes: about two minutes of TimeSformer-base on two cores
OVERLAP = 0.5  # of neighbouring windows, where MAX_WINDOWS allows it


def windows(num_source_frames: int, spec: ClipSpec, *, max_windows: int = MAX_WINDOWS) -> tuple[range, ...]:
    """Splits a video into windows, in order: the first begins with it, the last ends with it.

    Each has num_frames * stride frames of `spec`; a video no longer than that is one window.

    Raises:
        VideoError: the video has no frames.
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


def answered_parts(spans: Sequence[range]) -> tuple[range, ...]:
    """The part of the video that each of these neighbouring windows answers for, never more than itself.

    Windows that overlap meet halfway between their centres; between others there is a gap.
    """
    starts, stops = [spans[0].start], []
    for earlier, later in itertools.pairwise(spans):
        middle = round((earlier.start + earlier.stop + later.start + later.stop) / 4)
        stops.append(min(middle, earlier.stop))
        starts.append(max(middle, later.start))
    return tuple(map(range, starts, [*stops, spans[-1].stop]))


def boundaries(spans: Sequence[range]) -> tuple[int, ...]:
    """Returns the frames at which the parts of these windows begin and end, in ascending order."""
    return tuple(sorted({edge for part in answered_parts(spans) for edge in (part.start, part.stop)}))


def chunked(spans: Sequence[range], size: int) -> list[Sequence[range]]:
    """Groups `size` neighbouring windows at a time, in order, so that a video is read forward."""
    return [spans[start : start + size] for start in range(0, len(spans), size)]
