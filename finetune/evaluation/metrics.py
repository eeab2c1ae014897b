"""Logits and true classes -> figures."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax, logsumexp
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from finetune.evaluation.calibrate import negative_log_likelihood


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The headline figures of a split.

    Attributes:
        top1, top5: shares of the clips, 0..1.
        top1_interval, top5_interval: their 95 % Wilson intervals.
        loss: the mean cross-entropy.
        mean_class: the mean over the classes of the share of each that is right, 0..1, so that a class with few clips
            counts as much as one with many; None in reports of earlier versions.
    """

    top1: float
    top5: float
    top1_interval: tuple[float, float]
    top5_interval: tuple[float, float]
    loss: float
    clips: int
    mean_class: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """Precision, recall and F1 of a class, 0..1, and the number of its clips."""

    label: str
    precision: float
    recall: float
    f1: float
    clips: int


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How many clips of one class were taken for another."""

    label: str
    taken_for: str
    clips: int


def top_k_accuracy(logits: np.ndarray, classes: np.ndarray, k: int) -> float:
    """Share of clips, 0..1, whose class is among the k highest logits.

    Args:
        logits: float (N, number of classes).
        classes: int (N,).
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((best == classes[:, None]).any(axis=1).mean())


def accuracies(logits: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """The paper's two figures: top-1 and top-5."""
    return {"top1": top_k_accuracy(logits, classes, 1), "top5": top_k_accuracy(logits, classes, 5)}


def mean_class_accuracy(logits: np.ndarray, classes: np.ndarray) -> float:
    """The mean of the recalls of the classes that have clips, 0..1.

    >>> mean_class_accuracy(np.array([[1, 0], [1, 0], [1, 0], [1, 0]]), np.array([0, 0, 0, 1]))
    0.5
    """
    return mean_recall(confusion(logits, classes))


def mean_recall(counts: np.ndarray) -> float:
    """The mean of the recalls of the classes that have clips, 0..1.

    Args:
        counts: (number of classes, same), as `confusion` makes them.
    """
    clips = counts.sum(axis=1)
    return float((counts.diagonal()[clips > 0] / clips[clips > 0]).mean())


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share seen in `count` draws (Wilson 1927).

    >>> [round(end, 3) for end in wilson_interval(0.936, 125)]
    [0.879, 0.967]
    """
    interval = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def clearly_better(share: float, simpler: float, count: int) -> bool:
    """Whether a share is above that of something simpler by more than one standard error of it, in `count` draws.

    The rule by which Breiman et al. (1984) prefer the simpler of two models.

    >>> clearly_better(0.5, 0.4, 10), clearly_better(0.5, 0.4, 100)
    (False, True)
    """
    return share > simpler + math.sqrt(simpler * (1 - simpler) / count)


def confusion(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """int (number of classes, same): row the true class, column the answer."""
    counts: np.ndarray = confusion_matrix(classes, logits.argmax(axis=1), labels=np.arange(logits.shape[1]))
    return counts


def per_class(logits: np.ndarray, classes: np.ndarray, labels: Sequence[str]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1, 0..1, and the number of clips of each class; 0 where nothing tells."""
    columns = precision_recall_fscore_support(
        classes, logits.argmax(axis=1), labels=np.arange(len(labels)), zero_division=0
    )
    return tuple(
        ClassScore(label=label, precision=float(p), recall=float(r), f1=float(f), clips=int(n))
        for label, p, r, f, n in zip(labels, *columns, strict=True)
    )


def confused_pairs(counts: np.ndarray, labels: Sequence[str], most: int = 10) -> tuple[Confusion, ...]:
    """The classes taken for others, the most frequent first, by a confusion matrix."""
    wrong = np.where(np.eye(len(labels), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(row, column) for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    return tuple(
        Confusion(label=labels[row], taken_for=labels[column], clips=int(wrong[row, column]))
        for row, column in pairs
        if wrong[row, column]
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a checkpoint answered on a part of the data.

    Attributes:
        split: "val", "test" or "all".
        names: of the N clips.
        logits: float32 (N, number of classes).
        classes: int (N,), the true ones.
        seconds: that it took.
    """

    split: str
    names: tuple[str, ...]
    logits: np.ndarray
    classes: np.ndarray
    seconds: float

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.logits) == len(self.classes):
            raise ValueError(f"{len(self.names)} clips, {len(self.logits)} answers, {len(self.classes)} classes")

    @property
    def clips_per_second(self) -> float:
        return len(self.names) / self.seconds

    def without(self, names: Collection[str]) -> Predictions:
        """The same with some clips left out."""
        rows = [row for row, name in enumerate(self.names) if name not in names]
        return replace(
            self,
            names=tuple(self.names[row] for row in rows),
            logits=self.logits[rows],
            classes=self.classes[rows],
        )


def averaged(outcomes: Sequence[Predictions]) -> Predictions:
    """One outcome of several views of the same clips: its logits are the logarithms of the mean probabilities."""
    first = outcomes[0]
    if any(other.names != first.names for other in outcomes):
        raise ValueError("the outcomes are of different clips")
    views = np.stack([log_softmax(outcome.logits, axis=1) for outcome in outcomes])
    return replace(
        first,
        logits=(logsumexp(views, axis=0) - np.log(len(outcomes))).astype(np.float32),
        seconds=sum(outcome.seconds for outcome in outcomes),
    )


def headline_split(outcome: Predictions) -> Accuracy:
    """Top-1 and top-5 with their 95 % intervals, and the mean over the classes."""
    found, count = accuracies(outcome.logits, outcome.classes), len(outcome.names)
    return Accuracy(
        **found,
        top1_interval=wilson_interval(found["top1"], count),
        top5_interval=wilson_interval(found["top5"], count),
        loss=negative_log_likelihood(outcome.logits, outcome.classes),
        clips=count,
        mean_class=mean_class_accuracy(outcome.logits, outcome.classes),
    )
