"""Timelines: the answers for the windows of a long video, joined into segments, and their formats."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import asdict, dataclass
from typing import Any

from hmdb.clips.clip import ClipSpec
from hmdb.clips.windows import boundaries
from hmdb.errors import VideoError
from hmdb.text import label_words

NONE_OF_THESE = "none of these"


@dataclass(frozen=True, kw_only=True)
class WindowAnswer:
    """The answer for one window.

    Attributes:
        frames: the source frames that it spans.
        label: the most likely label; None where the window shows none of the model's labels.
        probability: of the most likely label, in 0..1.
    """

    frames: range
    label: str | None
    probability: float


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A run of consecutive windows with the same label.

    Attributes:
        label: None for none of the model's labels.
        probability: the mean over the windows, in 0..1.
        start_frame, end_frame: 0-based source frames, end exclusive.
        start_seconds, end_seconds: presentation time, as a player shows it; None for a video without timestamps.
    """

    label: str | None
    probability: float
    start_frame: int
    end_frame: int
    start_seconds: float | None
    end_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The actions over the length of a video, complete or as far as its windows have been answered.

    Attributes:
        answers: one for each window answered so far, in order.
        num_windows: the number of windows of the whole video.
        num_frames: the length of the video.
        fps: mean frame rate; None for a video without timestamps.
        model, revision: the checkpoint that answered.
        spec: samples the clip of each window.
        seconds: presentation time of each frame of `borders`; None for a video without timestamps.
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
        """True if the segments have times, and `to_srt` works."""
        return self.seconds is not None

    @property
    def borders(self) -> tuple[int, ...]:
        """The frames that separate the windows' shares of the video, from 0 to the end of the last answered window."""
        return boundaries([answer.frames for answer in self.answers])

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Consecutive windows of the same label, joined; there are no gaps between segments."""
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
        """The fraction of the frames that lie in an answered window, 0..1."""
        seen, end = 0, 0
        for answer in self.answers:
            seen += answer.frames.stop - max(answer.frames.start, end)
            end = answer.frames.stop
        return seen / self.num_frames

    def to_dict(self) -> dict[str, Any]:
        """The segments and their source, ready for JSON."""
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
        """A header and a row for each segment; the label is empty for none of these."""
        out = io.StringIO()
        names = ("label", "probability", "start_seconds", "end_seconds", "start_frame", "end_frame")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for segment in self.segments:
            values = (getattr(segment, name) for name in names)
            writer.writerow(round(value, 4) if isinstance(value, float) else value for value in values)
        return out.getvalue()

    def to_srt(self) -> str:
        """Subtitles in SubRip format: the label and probability of each segment.

        Raises:
            VideoError: the video has no timestamps.
        """
        blocks = []
        for number, segment in enumerate(self.segments, start=1):
            if segment.start_seconds is None or segment.end_seconds is None:
                raise VideoError("This video has no timestamps, so it has no subtitles.")
            text = f"{label_words(segment.label or NONE_OF_THESE)} ({segment.probability:.0%})"
            blocks.append(f"{number}\n{_srt(segment.start_seconds)} --> {_srt(segment.end_seconds)}\n{text}\n")
        return "\n".join(blocks)


def _srt(seconds: float) -> str:
    """
    >>> _srt(3661.5)
    '01:01:01,500'
    """
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"
