"""What the library answers: a prediction, an explanation and how far to trust it, a timeline."""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hmdb.clips.clip import Clip, ClipSpec
from hmdb.clips.windows import boundaries
from hmdb.errors import VideoError
from hmdb.text import label_words

NONE_OF_THESE = "none of these"
CHANCE_LEVEL = 0.05  # trust that a random map has in one of twenty clips


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The answer for one video.

    Attributes:
        labels: the top-k labels, the most likely first.
        probabilities: theirs, in 0..1; over all labels of the model they would sum to 1.
        clip: the frames that the model saw.
        model: the Hub id or the name of the checkpoint that answered.
        revision: its commit on the Hub; None for a local checkpoint.
        threshold: the probability below which the clip may show none of the labels; None if the
            checkpoint has none.
        familiarity: how like the clips it was trained on the model finds this one; below 0 it shows none of the
            labels. None for a checkpoint that cannot tell, where the threshold decides.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    clip: Clip
    model: str
    revision: str | None
    threshold: float | None = None
    familiarity: float | None = None

    @property
    def label(self) -> str:
        return self.labels[0]

    @property
    def probability(self) -> float:
        return self.probabilities[0]

    @property
    def is_known(self) -> bool:
        """Whether the clip shows one of the labels, as far as the model can tell."""
        return self.doubt is None

    @property
    def decided_by(self) -> str:
        """What that rests on: "features", or "probability" for a checkpoint without statistics of its classes."""
        return "probability" if self.familiarity is None else "features"

    @property
    def doubt(self) -> str | None:
        """Why the clip is taken to show none of the labels, in a sentence; None where it shows one."""
        return rejection_reason(
            moves=self.clip.moves,
            familiarity=self.familiarity,
            probability=self.probability,
            threshold=self.threshold,
        )

    def to_dict(self) -> dict[str, Any]:
        """The answer without its pixels, ready for JSON."""
        return {
            "label": self.label,
            "probability": self.probability,
            "is_known": self.is_known,
            "doubt": self.doubt,
            "familiarity": self.familiarity,
            "decided_by": self.decided_by,
            "moves": self.clip.moves,
            "threshold": self.threshold,
            "top": [
                {"label": label, "probability": probability}
                for label, probability in zip(self.labels, self.probabilities, strict=True)
            ],
            "frames": [asdict(frame) for frame in self.clip.frames],
            "decoder": self.clip.decoder,
            "notes": list(self.clip.notes),
            "model": self.model,
            "revision": self.revision,
            "clip_spec": self.clip.spec.to_dict(),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipScores:
    """What a model makes of one clip.

    Attributes:
        probabilities: float32 (number of labels,), summing to 1.
        embedding: float32 (hidden size,): the pooled features, as the classifier sees them.
        familiarity: as in `Prediction`.
    """

    probabilities: np.ndarray
    embedding: np.ndarray
    familiarity: float | None


def rejection_reason(
    *, moves: bool, familiarity: float | None, probability: float, threshold: float | None
) -> str | None:
    """Why a clip is taken to show none of the labels, in a sentence; None where it shows one.

    Args:
        moves: whether anything does in it.
        familiarity, threshold: as in `Prediction`.
        probability: of the most likely label, in 0..1.
    """
    if not moves:
        return "Nothing moves in this clip."
    if familiarity is not None and familiarity < 0:
        return "It is unlike every action that the model knows."
    if threshold is None or probability >= threshold:
        return None
    return "No action is likely enough" + (
        ", and this model has no better way to tell." if familiarity is None else "."
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """An answer and where the model looked for it.

    Attributes:
        prediction: the answer; its clip has the T frames.
        label: the label that the map is about; None for attention rollout, which is about none.
        heat: float32 (T, rows, columns), 0 at the least and 1 at the most relevant patch of the clip.
        frame_importance: float32 (T,), each frame's share of the relevance; sums to 1.
        region: (top, left, bottom, right) of what the model sees of a frame, as fractions of its height
            and width: where the heat belongs. (0, 0, 1, 1) unless the checkpoint crops.
    """

    prediction: Prediction
    label: str | None
    heat: np.ndarray
    frame_importance: np.ndarray
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """The map and the answer it belongs to, without pixels, ready for JSON."""
        return {
            "about": self.label,
            "frame_importance": [round(float(share), 4) for share in self.frame_importance],
            "heat": self.heat.round(3).tolist(),
            "region": list(self.region),
            "answer": self.prediction.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """What masking patches in the order of a map did to the probability of a label.

    Attributes:
        label: whose probability it is.
        shares: of the patches, evenly spaced from 0 to 1.
        deleted: the probability with so many of the most relevant patches masked.
        inserted: the probability with all but so many of the most relevant ones masked.
    """

    label: str
    shares: tuple[float, ...]
    deleted: tuple[float, ...]
    inserted: tuple[float, ...]

    @property
    def probability(self) -> float:
        """With nothing masked, in 0..1."""
        return self.deleted[0]

    @property
    def trust(self) -> float:
        """The area between the two curves, -1..1: how far the probability with the most relevant patches lies
        above that without them, over all shares. For a random map it is 0 on average.
        """
        gaps = [kept - lost for lost, kept in zip(self.deleted, self.inserted, strict=True)]
        return sum(left + right for left, right in itertools.pairwise(gaps)) / 2 / (len(gaps) - 1)

    @property
    def above_chance(self) -> bool:
        """Whether that is more than a random map reaches in one of twenty clips."""
        return self.trust > CHANCE_LEVEL

    @property
    def sentence(self) -> str:
        """The figures in plain words."""
        figures = (
            f"Without the {self.shares[1]:.0%} of the patches that the map marks most, the probability of "
            f"{label_words(self.label)} goes from {self.probability:.1%} to {self.deleted[1]:.1%}; with them alone it "
            f"is {self.inserted[1]:.1%}. Over all shares, trust in the map is {self.trust:.2f} of at most 1, where a "
            "random one has 0."
        )
        if self.above_chance:
            return f"{figures} The map shows what this answer rests on better than chance."
        return f"{figures} The map does not beat chance here: do not read much into it."

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "trust": self.trust, "beats_random": self.above_chance}


@dataclass(frozen=True, kw_only=True)
class WindowAnswer:
    """The answer for one window.

    Attributes:
        frames: the source frames that it spans.
        label: the most likely; None where the window shows none of the model's labels.
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
        return boundaries([answer.frames for answer in self.answers])

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
