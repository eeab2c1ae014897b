"""Classification metrics."""

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
    """The accuracy of a split.

    Attributes:
        top1, top5: fractions of the clips, 0..1.
        top1_interval, top5_interval: their 95 % Wilson intervals.
        loss: the mean cross-entropy.
        mean_class: the mean recall of the classes, 0..1; None in older reports.
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
    """The number of clips of one class that were classified as another."""

    label: str
    taken_for: str
    clips: int


def top_k_accuracy(logits: np.ndarray, classes: np.ndarray, k: int) -> float:
    """The fraction of clips, 0..1, whose class is among the k highest logits.

    scikit-learn's `top_k_accuracy_score` refuses two columns for two classes, and warns where k is not below their
    number.

    Args:
        logits: float (N, number of classes).
        classes: int (N,).
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((best == classes[:, None]).any(axis=1).mean())


def top_accuracies(logits: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """The paper's two metrics: top-1 and top-5."""
    return {"top1": top_k_accuracy(logits, classes, 1), "top5": top_k_accuracy(logits, classes, 5)}


def mean_recall(counts: np.ndarray) -> float:
    """Mean-class accuracy: the mean recall of the classes that have clips, 0..1.

    scikit-learn's `balanced_accuracy_score` is the same, and warns where a class without clips is predicted.

    Args:
        counts: (number of classes, same), a confusion matrix.
    """
    clips = counts.sum(axis=1)
    return float((counts.diagonal()[clips > 0] / clips[clips > 0]).mean())


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a fraction of `count` clips (Wilson 1927).

    >>> [round(end, 3) for end in wilson_interval(0.936, 125)]
    [0.879, 0.967]
    """
    interval = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def clearly_better(share: float, simpler: float, count: int) -> bool:
    """True if an accuracy exceeds a simpler model's by more than one standard error, on `count` clips.

    The one-standard-error rule of Breiman et al. (1984).

    >>> clearly_better(0.5, 0.4, 10), clearly_better(0.5, 0.4, 100)
    (False, True)
    """
    return share > simpler + math.sqrt(simpler * (1 - simpler) / count)


def confusion(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The confusion matrix, int (number of classes, same): row the true class, column the predicted one."""
    counts: np.ndarray = confusion_matrix(classes, logits.argmax(axis=1), labels=np.arange(logits.shape[1]))
    return counts


def per_class(logits: np.ndarray, classes: np.ndarray, labels: Sequence[str]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1, 0..1, and the number of clips of each class; an undefined value is 0."""
    columns = precision_recall_fscore_support(
        classes, logits.argmax(axis=1), labels=np.arange(len(labels)), zero_division=0
    )
    return tuple(
        ClassScore(label=label, precision=float(p), recall=float(r), f1=float(f), clips=int(n))
        for label, p, r, f, n in zip(labels, *columns, strict=True)
    )


def confused_pairs(counts: np.ndarray, labels: Sequence[str], most: int = 10) -> tuple[Confusion, ...]:
    """The pairs of classes that a confusion matrix mixes up, the most frequent first."""
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
    """The predictions of a checkpoint for a split.

    Attributes:
        split: "val", "test" or "all".
        names: of the N clips.
        logits: float32 (N, number of classes).
        classes: int (N,), the true ones.
        seconds: duration.
    """

    split: str
    names: tuple[str, ...]
    logits: np.ndarray
    classes: np.ndarray
    seconds: float

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.logits) == len(self.classes):
            raise ValueError(f"{len(self.names)} clips, {len(self.logits)} predictions, {len(self.classes)} classes")

    @property
    def clips_per_second(self) -> float:
        return len(self.names) / self.seconds

    def without(self, names: Collection[str]) -> Predictions:
        """Leaves out some clips."""
        rows = [row for row, name in enumerate(self.names) if name not in names]
        return replace(
            self,
            names=tuple(self.names[row] for row in rows),
            logits=self.logits[rows],
            classes=self.classes[rows],
        )


def average_views(views: Sequence[Predictions]) -> Predictions:
    """Averages the probabilities of several views of the same clips; the logits are the logarithms of the means."""
    first = views[0]
    if any(other.names != first.names for other in views):
        raise ValueError("the predictions are of different clips")
    log_probabilities = np.stack([log_softmax(view.logits, axis=1) for view in views])
    return replace(
        first,
        logits=(logsumexp(log_probabilities, axis=0) - np.log(len(views))).astype(np.float32),
        seconds=sum(view.seconds for view in views),
    )


def accuracy(predictions: Predictions) -> Accuracy:
    """Computes top-1 and top-5 with their 95 % intervals, and mean-class accuracy."""
    logits, classes, count = predictions.logits, predictions.classes, len(predictions.names)
    shares = top_accuracies(logits, classes)
    return Accuracy(
        **shares,
        top1_interval=wilson_interval(shares["top1"], count),
        top5_interval=wilson_interval(shares["top5"], count),
        loss=negative_log_likelihood(logits, classes),
        clips=count,
        mean_class=mean_recall(confusion(logits, classes)),
    )
