"""Timelines: the answers for the windows of a long video, joined into segments, and their formats."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import asdict, dataclass
from typing import Any

from hmdb.clips.clip import ClipSpec
from hmdb.clips.windows import answered_parts, boundaries
from hmdb.errors import VideoError
from hmdb.text import label_words

NONE_OF_THESE, NOT_LOOKED_AT = "none of these", "not looked at"


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
    """A run of consecutive windows with the same label, or a gap between windows.

    Attributes:
        label: None for none of the model's labels, and where nobody has looked.
        probability: of the most likely label, the mean over the windows, in 0..1; None where nobody has looked.
        start_frame, end_frame: 0-based source frames, end exclusive.
        start_seconds, end_seconds: presentation time, as a player shows it; None for a video without timestamps.
        looked_at: False for a gap, of which nothing is known.
    """

    label: str | None
    probability: float | None
    start_frame: int
    end_frame: int
    start_seconds: float | None
    end_seconds: float | None
    looked_at: bool = True

    @property
    def name(self) -> str:
        """The label in words, "none of these" or "not looked at"."""
        return label_words(self.label or NONE_OF_THESE) if self.looked_at else NOT_LOOKED_AT


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
    def parts(self) -> tuple[range, ...]:
        """The frames that each answer stands for."""
        return answered_parts([answer.frames for answer in self.answers])

    @property
    def borders(self) -> tuple[int, ...]:
        """The frames at which parts begin and end, in ascending order."""
        return boundaries([answer.frames for answer in self.answers])

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Consecutive parts of the same label, joined, and the gaps between them: each begins where the last ends."""
        # The clock of recordings that were joined may jump back.
        seconds = itertools.accumulate(self.seconds or (), max)
        time: dict[int, float | None] = {
            **dict.fromkeys(self.borders),
            **dict(zip(self.borders, seconds, strict=False)),
        }
        pieces: list[tuple[range, WindowAnswer | None]] = []
        for part, answer in zip(self.parts, self.answers, strict=True):
            if pieces and pieces[-1][0].stop < part.start:
                pieces.append((range(pieces[-1][0].stop, part.start), None))
            pieces.append((part, answer))
        segments = []
        for (looked_at, label), run in itertools.groupby(pieces, key=lambda piece: _kind(piece[1])):
            group = list(run)
            start, end = group[0][0].start, group[-1][0].stop
            probabilities = [answer.probability for _, answer in group if answer]
            segments.append(
                Segment(
                    label=label,
                    probability=sum(probabilities) / len(probabilities) if probabilities else None,
                    start_frame=start,
                    end_frame=end,
                    start_seconds=time[start],
                    end_seconds=time[end],
                    looked_at=looked_at,
                )
            )
        return tuple(segments)

    @property
    def coverage(self) -> float:
        """The fraction of the frames that lie in an answered window, 0..1."""
        return sum(map(len, self.parts)) / self.num_frames

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
        names = ("label", "probability", "start_seconds", "end_seconds", "start_frame", "end_frame", "looked_at")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for segment in self.segments:
            values = (getattr(segment, name) for name in names)
            writer.writerow(round(value, 4) if isinstance(value, float) else value for value in values)
        return out.getvalue()

    def to_srt(self) -> str:
        """Subtitles in SubRip format, one for each segment that was looked at.

        Raises:
            VideoError: the video has no timestamps.
        """
        blocks = []
        looked_at = [segment for segment in self.segments if segment.looked_at]
        for number, segment in enumerate(looked_at, start=1):
            if segment.start_seconds is None or segment.end_seconds is None:
                raise VideoError("This video has no timestamps, so it has no subtitles.")
            times = f"{_srt(segment.start_seconds)} --> {_srt(segment.end_seconds)}"
            text = f"{segment.name} ({segment.probability:.0%})" if segment.label else segment.name
            blocks.append(f"{number}\n{times}\n{text}\n")
        return "\n".join(blocks)


def _kind(answer: WindowAnswer | None) -> tuple[bool, str | None]:
    return answer is not None, answer.label if answer else None


def _srt(seconds: float) -> str:
    """
    >>> _srt(3661.5)
    '01:01:01,500'
    """
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"
