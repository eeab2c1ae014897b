"""Results of the library: predictions, explanations and their faithfulness, timelines."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from hmdb.clips.clip import Clip
from hmdb.text import label_words
from hmdb.timeline import NONE_OF_THESE, Segment, Timeline, WindowAnswer

__all__ = [
    "CHANCE_LEVEL",
    "EVIDENCE",
    "NONE_OF_THESE",
    "ClipScores",
    "Explanation",
    "Faithfulness",
    "Prediction",
    "Segment",
    "Timeline",
    "WindowAnswer",
    "rejection_reason",
]

CHANCE_LEVEL = 0.05  # faithfulness score that a random map exceeds on one clip in twenty
STRONG_LOSS, WEAK_LOSS = 0.5, 0.25  # shares of its probability that a label loses without the most relevant fifth
EVIDENCE = {
    "strong": "Strong evidence: the answer rests on these places.",
    "weak": "Weak evidence: the answer rests on more than these places.",
    "none": "No evidence: the answer does not rest on these places.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The answer for one video.

    Attributes:
        labels: the top-k labels, most likely first.
        probabilities: of these labels, 0..1; over all labels of the model they would sum to 1.
        clip: the frames that the model saw.
        model: Hub id or name of the checkpoint.
        revision: commit of the checkpoint on the Hub; None for a local one.
        threshold: probability below which the clip may show none of the labels; None if the checkpoint sets none.
        in_distribution_score: larger for clips that resemble the training data; below 0 the clip is out of
            distribution and shows none of the labels. None if the checkpoint has no OOD detector.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    clip: Clip
    model: str
    revision: str | None
    threshold: float | None = None
    in_distribution_score: float | None = None

    @property
    def label(self) -> str:
        return self.labels[0]

    @property
    def probability(self) -> float:
        return self.probabilities[0]

    @property
    def is_known(self) -> bool:
        """True if the clip shows one of the labels, as far as the model can tell."""
        return self.rejection_reason is None

    @property
    def ood_method(self) -> str:
        """The basis of `is_known`: "features", or "probability" for a checkpoint without an OOD detector."""
        return "probability" if self.in_distribution_score is None else "features"

    @property
    def rejection_reason(self) -> str | None:
        """A sentence that says why the clip is taken to show none of the labels; None if it shows one."""
        return rejection_reason(
            moves=self.clip.moves,
            in_distribution_score=self.in_distribution_score,
            probability=self.probability,
            threshold=self.threshold,
        )

    def to_dict(self) -> dict[str, Any]:
        """The answer without its pixels, ready for JSON."""
        return {
            "label": self.label,
            "probability": self.probability,
            "is_known": self.is_known,
            "doubt": self.rejection_reason,
            "familiarity": self.in_distribution_score,
            "decided_by": self.ood_method,
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
    """The scores of one clip.

    Attributes:
        labels: all labels of the model.
        threshold, in_distribution_score: as in `Prediction`.
        probabilities: float32 (number of labels,), summing to 1.
        embedding: float32 (hidden size,): the pooled features that the classifier reads.
    """

    labels: tuple[str, ...]
    threshold: float | None
    probabilities: np.ndarray
    embedding: np.ndarray
    in_distribution_score: float | None

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most likely labels with their probabilities, best first; all if there are fewer than `count`."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.labels[index], float(self.probabilities[index])) for index in best]

    def rejection_reason(self, *, moves: bool) -> str | None:
        """The reason of a `Prediction` with these scores; `moves` is False for a clip in which nothing moves."""
        return rejection_reason(
            moves=moves,
            in_distribution_score=self.in_distribution_score,
            probability=float(self.probabilities.max()),
            threshold=self.threshold,
        )

    def window_answer(self, frames: range, *, moves: bool) -> WindowAnswer:
        """The answer for a window of a timeline that spans `frames`."""
        ((label, probability),) = self.top(1)
        known = self.rejection_reason(moves=moves) is None
        return WindowAnswer(frames=frames, label=label if known else None, probability=probability)


def rejection_reason(
    *, moves: bool, in_distribution_score: float | None, probability: float, threshold: float | None
) -> str | None:
    """A sentence that says why a clip is taken to show none of the labels; None if it shows one.

    Args:
        moves: False for a clip in which nothing moves.
        in_distribution_score, threshold: as in `Prediction`.
        probability: of the most likely label, 0..1.
    """
    if not moves:
        return "Nothing moves in this clip."
    if in_distribution_score is not None and in_distribution_score < 0:
        return "It is unlike every action that the model knows."
    if threshold is None or probability >= threshold:
        return None
    return "No action is likely enough" + (
        ", and this model has no better way to tell." if in_distribution_score is None else "."
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """A prediction and the attribution map over its frames.

    Attributes:
        prediction: the answer; its clip has the T frames.
        label: the label that the map explains; None for attention rollout, which is the same for all labels.
        heat: float32 (T, rows, columns): relevance of each patch, scaled to 0..1 over the clip.
        frame_importance: float32 (T,): share of the relevance in each frame; sums to 1.
        region: (top, left, bottom, right) of the area that `heat` covers, as fractions of the height and width of a
            frame. (0, 0, 1, 1) unless the checkpoint crops.
    """

    prediction: Prediction
    label: str | None
    heat: np.ndarray
    frame_importance: np.ndarray
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """The map and its answer, without pixels, ready for JSON."""
        return {
            "about": self.label,
            "frame_importance": [round(float(share), 4) for share in self.frame_importance],
            "heat": self.heat.round(3).tolist(),
            "region": list(self.region),
            "answer": self.prediction.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """The deletion and insertion curves of an attribution map.

    Attributes:
        label: the label whose probability is measured.
        shares: fractions of the patches, evenly spaced from 0 to 1.
        deleted: probability with that fraction of the patches masked, most relevant first.
        inserted: probability with only that fraction of the patches visible, most relevant first.
    """

    label: str
    shares: tuple[float, ...]
    deleted: tuple[float, ...]
    inserted: tuple[float, ...]

    @property
    def probability(self) -> float:
        """The probability with nothing masked, 0..1."""
        return self.deleted[0]

    @property
    def score(self) -> float:
        """The area between the insertion and the deletion curve, -1..1; 0 on average for a random map."""
        gaps = [kept - lost for lost, kept in zip(self.deleted, self.inserted, strict=True)]
        return sum(left + right for left, right in itertools.pairwise(gaps)) / 2 / (len(gaps) - 1)

    @property
    def above_chance(self) -> bool:
        """True if the score exceeds what a random map reaches on one clip in twenty."""
        return self.score > CHANCE_LEVEL

    @property
    def strength(self) -> Literal["strong", "weak", "none"]:
        """The effect of the most relevant patches: without the first fifth the label loses at least half of its
        probability (strong), at least a quarter (weak), or less (none). A map no better than a random one has none.
        """
        loss = 1 - self.deleted[1] / self.probability if self.probability else 0.0
        if not self.above_chance or loss < WEAK_LOSS:
            return "none"
        return "strong" if loss >= STRONG_LOSS else "weak"

    @property
    def sentence(self) -> str:
        """The figures in plain words."""
        figures = (
            f"With the {self.shares[1]:.0%} most relevant patches hidden, the probability of "
            f"{label_words(self.label)} goes from {self.probability:.1%} to {self.deleted[1]:.1%}; with only them "
            f"visible it is {self.inserted[1]:.1%}. Over all shares the faithfulness of the map is {self.score:.2f} "
            "(1 at best, 0 for a random map)."
        )
        return f"{figures} {EVIDENCE[self.strength]}"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "trust": self.score, "beats_random": self.above_chance}
