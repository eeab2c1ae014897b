"""A long video as windows, the answers of the windows as segments, the segments as files.

A window is a range of source frames, sampled as though it were the whole video. Windows are spread so
that there are never more than MAX_WINDOWS of them, since each costs one forward pass: short videos get
windows that overlap by half, long ones windows with gaps between them.

    >>> windows(600, ClipSpec())  # 256 frames each
    (range(0, 256), range(115, 371), range(229, 485), range(344, 600))
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hmdb.clip import ClipSpec
from hmdb.errors import VideoError
from hmdb.labels import readable

MAX_WINDOWS = 48  # forward passes that somebody waits for: about two minutes of TimeSformer-base on two cores
OVERLAP = 0.5  # of neighbouring windows, where MAX_WINDOWS allows it
NONE_OF_THESE = "none of these"


@dataclass(frozen=True, kw_only=True)
class WindowAnswer:
    """The answer for one window.

    Attributes:
        frames: the source frames that it spans.
        label: the most likely; None where its probability is below the model's threshold.
        probability: of the most likely label, in 0..1.
    """

    frames: range
    label: str | None
    probability: float


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of video whose windows have the same answer.

    Attributes:
        label: theirs; None for none of the model's labels.
        probability: the mean of theirs.
        start_frame, end_frame: 0-based source frames; the last is not included.
        start_seconds, end_seconds: on the clock of the video, as a player shows it; None without a clock.
    """

    label: str | None
    probability: float
    start_frame: int
    end_frame: int
    start_seconds: float | None
    end_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What happens when, as far as the windows have been answered.

    Attributes:
        answers: of the windows, in order.
        num_windows: how many there will be.
        num_frames: of the video.
        fps: its mean frame rate; None without a clock.
        model, revision: which checkpoint answered.
        spec: how the clip of each window was taken.
        seconds: when each frame of `borders` is shown, on the clock of the video; None without a clock.
    """

    answers: tuple[WindowAnswer, ...]
    num_windows: int
    num_frames: int
    fps: float | None
    model: str
    revision: str | None
    spec: ClipSpec
    seconds: tuple[float, ...] | None

    @property
    def is_complete(self) -> bool:
        return len(self.answers) == self.num_windows

    @property
    def has_clock(self) -> bool:
        """Whether its segments have seconds, and it subtitles."""
        return self.seconds is not None

    @property
    def borders(self) -> tuple[int, ...]:
        """The frames at which what one window stands for ends and the next begins, from 0 to the end of the
        last that has been answered.
        """
        return borders([answer.frames for answer in self.answers])

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Neighbouring windows of one label, joined. They follow one another without gaps."""
        segments, first, frames = [], 0, self.borders
        for label, group in itertools.groupby(self.answers, key=lambda answer: answer.label):
            probabilities = [answer.probability for answer in group]
            end = first + len(probabilities)
            segments.append(
                Segment(
                    label=label,
                    probability=sum(probabilities) / len(probabilities),
                    start_frame=frames[first],
                    end_frame=frames[end],
                    start_seconds=self.seconds[first] if self.seconds else None,
                    end_seconds=self.seconds[end] if self.seconds else None,
                )
            )
            first = end
        return tuple(segments)

    @property
    def coverage(self) -> float:
        """The share of the video's frames that lie in an answered window, in 0..1."""
        seen, end = 0, 0
        for answer in self.answers:
            seen += answer.frames.stop - max(answer.frames.start, end)
            end = answer.frames.stop
        return seen / self.num_frames

    def to_dict(self) -> dict[str, Any]:
        """The segments and where they come from, ready for JSON."""
        return {
            "segments": [asdict(segment) for segment in self.segments],
            "num_windows": self.num_windows,
            "num_answered": len(self.answers),
            "num_frames": self.num_frames,
            "fps": self.fps,
            "coverage": self.coverage,
            "model": self.model,
            "revision": self.revision,
            "clip_spec": self.spec.to_dict(),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def to_csv(self) -> str:
        """A header and one line for each segment; a label of none of these is left empty."""
        out = io.StringIO()
        names = ("label", "probability", "start_seconds", "end_seconds", "start_frame", "end_frame")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for segment in self.segments:
            values = (getattr(segment, name) for name in names)
            writer.writerow(round(value, 4) if isinstance(value, float) else value for value in values)
        return out.getvalue()

    def to_srt(self) -> str:
        """Subtitles (SubRip): each segment's label and probability while it lasts.

        Raises:
            VideoError: the video has no clock.
        """
        blocks = []
        for number, segment in enumerate(self.segments, start=1):
            if segment.start_seconds is None or segment.end_seconds is None:
                raise VideoError("This video has no clock, so it has no subtitles.")
            text = f"{readable(segment.label or NONE_OF_THESE)} ({segment.probability:.0%})"
            blocks.append(f"{number}\n{_srt(segment.start_seconds)} --> {_srt(segment.end_seconds)}\n{text}\n")
        return "\n".join(blocks)


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


def borders(of: Sequence[range]) -> tuple[int, ...]:
    """Where what each of these neighbouring windows stands for begins, and where the last ends: frames.

    A border lies in the middle between the centres of the windows beside it.
    """
    centres = [(window.start + window.stop) / 2 for window in of]
    return (0, *(round((a + b) / 2) for a, b in itertools.pairwise(centres)), of[-1].stop)


def batches(of: Sequence[range], size: int) -> list[Sequence[range]]:
    """`size` neighbours at a time, in order, so that a video is read forward."""
    return [of[start : start + size] for start in range(0, len(of), size)]


def _srt(seconds: float) -> str:
    """
    >>> _srt(3661.5)
    '01:01:01,500'
    """
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"
