"""Cross-validation of a few clips: each group is left out in turn, and named by a head that never saw it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hmdb.teaching.features import ClipFeatures, assemble
from hmdb.teaching.lda import Span, fit_lda
from hmdb.teaching.rejection import nearest_distance
from hmdb.text import label_words

MIN_CLIPS = 3  # of an action, to say anything about it
MAX_FOLDS = 20  # beyond that many groups, several are left out together
CONFIDENCE = 1.96  # standard deviations: 95 %
TEMPERATURES = np.geomspace(0.1, 1000, 80)


@dataclass(frozen=True, kw_only=True, eq=False)
class LeftOut:
    """The outputs for clips that were left out of the fit.

    Attributes:
        logits: float64 (N, K), of the actions; -inf for one without other clips.
        none: float64 (N,): logit of the negatives; None without them.
        distance: float64 (N,): from the mean of the nearest action.
    """

    logits: np.ndarray
    none: np.ndarray | None
    distance: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """int (N,): the action with the largest logit."""
        predicted: np.ndarray = self.logits.argmax(axis=1)
        return predicted


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The result of a cross-validation.

    Attributes:
        labels: the K actions.
        confusions: K rows of K counts: clips of an action by predicted action.
        groups: number of groups that were left out in turn.
        problem: a sentence that says why nothing can be said about the accuracy; None if something can.
        strangers_accepted, strangers: of so many strangers, those taken for an action: negatives that were left out or,
            without negatives, the clips of each action by a head that was not taught it. 0 of 0 if unknown.
        known_kept, known: of so many clips that are named right, those taken for an action.
        with_negatives: True if the strangers are negatives.
    """

    labels: tuple[str, ...]
    confusions: tuple[tuple[int, ...], ...]
    groups: int
    problem: str | None
    strangers_accepted: int = 0
    strangers: int = 0
    known_kept: int = 0
    known: int = 0
    with_negatives: bool = False

    @property
    def total(self) -> int:
        return sum(map(sum, self.confusions))

    @property
    def right(self) -> int:
        return sum(row[index] for index, row in enumerate(self.confusions))

    @property
    def accuracy(self) -> float | None:
        """The share of clips that are named right, 0..1; None if there are too few to say."""
        return None if self.problem else self.right / self.total

    @property
    def mixed_up(self) -> tuple[tuple[str, str, int, int], ...]:
        """The confusions as (action, predicted action, clips, clips of the action), the most frequent first."""
        rows = [
            (self.labels[row], self.labels[column], count, sum(counts))
            for row, counts in enumerate(self.confusions)
            for column, count in enumerate(counts)
            if count and row != column
        ]
        return tuple(sorted(rows, key=lambda each: (-each[2] / each[3], each)))

    @property
    def sentence(self) -> str:
        """The figures in plain words."""
        if self.problem:
            return self.problem
        low, high = wilson_interval(self.right, self.total)
        text = (
            f"Left out in turn, {self.right} of {self.total} clips are named right: {self.right / self.total:.0%}, and "
            f"{low:.0%} to {high:.0%} is to be expected of further clips like these."
        )
        if self.mixed_up:
            label, other, count, clips = self.mixed_up[0]
            text += f" Most mixed up: {label_words(label)} is taken for {label_words(other)}, {count} of {clips}."
        return text

    @property
    def strangers_sentence(self) -> str:
        """The expected rejection of strangers in plain words."""
        if not self.strangers:
            return "There are too few clips to say how many strangers it lets through."
        low, high = wilson_interval(self.strangers_accepted, self.strangers)
        kind = "clips of none" if self.with_negatives else "clips of an action it was not taught"
        return (
            f"Of {self.strangers} {kind}, {self.strangers_accepted} are let through: {low:.0%} to {high:.0%} is to be "
            f"expected. Of {self.known} clips named right, {self.known_kept} are kept."
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        interval = None if self.problem else wilson_interval(self.right, self.total)
        more = {"accuracy": self.accuracy, "interval": interval, "sentence": self.sentence}
        return {**asdict(self), **more, "strangers_sentence": self.strangers_sentence}


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927).

    >>> low, high = wilson_interval(8, 10)
    >>> f"{low:.2f} {high:.2f}"
    '0.49 0.94'
    """
    share, variance = right / total, CONFIDENCE**2 / total
    middle = (share + variance / 2) / (1 + variance)
    half = math.sqrt(share * (1 - share) * variance + variance**2 / 4) / (1 + variance)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def find_problem(clips: Sequence[ClipFeatures], labels: Sequence[str]) -> str | None:
    """A sentence that says why a cross-validation would mean nothing; None if it means something."""
    for label in labels:
        own = [group for clip, group in zip(clips, groups_of(clips), strict=True) if clip.label == label]
        if len(own) < MIN_CLIPS:
            return f"There are too few clips to say: {label_words(label)} has {len(own)} of at least {MIN_CLIPS}."
        if len(set(own)) < 2:
            return f"All clips of {label_words(label)} are of one recording or person: add some of another to say more."
    return None


def groups_of(clips: Sequence[ClipFeatures]) -> list[str]:
    """The group of each clip; one of its own for a clip without."""
    return [f"clip {index}" if clip.group is None else f"group {clip.group}" for index, clip in enumerate(clips)]


def leave_groups_out(
    clips: Sequence[ClipFeatures], classes: np.ndarray, number: int, *, assembly: str, mirror: bool
) -> LeftOut:
    """Names each clip by a head fitted to the clips of other groups.

    Args:
        clips: N clips.
        classes: int (N,): 0 to number - 1 for actions, `number` for negatives.
        number: number of actions K.
        assembly: of the features.
        mirror: fit to mirrored copies too; they are never left out alone.
    """
    features = assemble(np.stack([clip.parts for clip in clips]), assembly)
    copies = mirrored_features(clips, assembly) if mirror else features[:0]
    span = Span.of(np.concatenate([features, copies]))
    places, width = span.project(features), features.shape[1]
    places_mirrored = span.project(copies)
    logits = np.full((len(clips), number + 1), -np.inf)
    distance = np.zeros(len(clips))
    folds = _folds(groups_of(clips))
    for fold in range(folds.max() + 1):
        out = folds == fold
        points = np.concatenate([places[~out], places_mirrored[~out] if mirror else places_mirrored])
        answers = np.tile(classes[~out], 2 if mirror else 1)
        present, packed = np.unique(answers, return_inverse=True)
        weight, bias = fit_lda(points, packed, width=width)
        logits[np.ix_(out, present)] = places[out] @ weight.T + bias
        actions = present[present < number]
        means = np.stack([points[answers == action].mean(axis=0) for action in actions])
        distance[out] = nearest_distance(places[out], means) * places.shape[1] / width
    negatives = bool((classes == number).any())
    return LeftOut(logits=logits[:, :number], none=logits[:, number] if negatives else None, distance=distance)


def mirrored_features(clips: Sequence[ClipFeatures], assembly: str) -> np.ndarray:
    """The features of the mirrored copies: float32 (N, D). Every clip must have one."""
    return assemble(np.stack([clip.mirrored for clip in clips if clip.mirrored is not None]), assembly)


def fit_temperature(logits: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """The divisor of logits (N, K) with the smallest log loss for classes (N,), and that loss."""
    finite = np.where(np.isfinite(logits), logits, -1e9)
    losses = []
    for temperature in TEMPERATURES:
        scaled = finite / temperature
        losses.append((np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(scaled)), classes]).mean())
    best = int(np.argmin(losses))
    return float(TEMPERATURES[best]), float(losses[best])


def _folds(groups: Sequence[str]) -> np.ndarray:
    """The fold of each clip, int (N,): one for each group, or for several of them beyond `MAX_FOLDS`."""
    order = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    return np.array([order[group] % MAX_FOLDS for group in groups])
