"""Logits of validation clips -> the `Calibration` that a checkpoint carries, and how far probabilities are off."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from hmdb.model.calibration import Calibration, ReliabilityBin

BINS = 15  # as in Guo et al.
PARTS = 10  # for people
KEEP = 0.95  # of the right answers stay above the threshold
COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are tried


def fit(logits: np.ndarray, classes: np.ndarray, *, keep: float = KEEP) -> Calibration:
    """The calibration that fits the validation clips.

    Args:
        logits: float (N, K) of clips that were not trained on.
        classes: int (N,), the right ones.
        keep: share of the right answers that the threshold leaves standing.
    """
    temperature = fit_temperature(logits, classes)
    probabilities = Calibration(temperature=temperature).probabilities(logits)
    return Calibration(
        temperature=temperature,
        threshold=fit_threshold(probabilities, classes, keep=keep),
        bins=counted(probabilities, classes),
    )


def counted(probabilities: np.ndarray, classes: np.ndarray, *, parts: int = PARTS) -> tuple[ReliabilityBin, ...]:
    """How many answers there are in each of `parts` equal parts of 0..1, and how many of them are right.

    Args:
        probabilities: float (N, K).
        classes: int (N,).
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    edges = np.round(np.linspace(0, 1, parts + 1), 6).tolist()
    found = []
    for low, high in itertools.pairwise(edges):
        inside = (low < confidence) & (confidence <= high)
        found.append(ReliabilityBin(low=low, high=high, count=int(inside.sum()), right=int(right[inside].sum())))
    return tuple(found)


def fit_temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """The temperature with the least negative log-likelihood, which has one minimum."""
    found = minimize_scalar(
        lambda power: negative_log_likelihood(logits / np.exp(power), classes),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(found.x))


def fit_threshold(probabilities: np.ndarray, classes: np.ndarray, *, keep: float = KEEP) -> float | None:
    """The probability that `keep` of the right answers reach; None where no answer is right.

    Validation clips all show one of the classes, so this bounds how often a good answer is doubted, not
    how often a strange video is found out.

    Args:
        probabilities: float (N, K).
        classes: int (N,).
    """
    right = probabilities.argmax(axis=1) == classes
    if not right.any():
        return None
    return float(np.quantile(probabilities[right].max(axis=1), 1 - keep, method="lower"))


def negative_log_likelihood(logits: np.ndarray, classes: np.ndarray) -> float:
    """The mean over (N, K) logits of minus the log probability of the right class."""
    logits = logits.astype(np.float64)
    return float((logsumexp(logits, axis=1) - logits[np.arange(len(classes)), classes]).mean())


def reliability(
    probabilities: np.ndarray, classes: np.ndarray, *, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How sure and how right the answers are, by how sure they are.

    Args:
        probabilities: float (N, K).
        classes: int (N,).

    Returns:
        Mean confidence, accuracy and share of the clips in each of `bins` equal parts of 0..1: (bins,)
        each; 0 in an empty bin.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == classes).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    some = np.maximum(count, 1)
    mean_confidence = np.bincount(place, confidence, minlength=bins) / some
    accuracy = np.bincount(place, right, minlength=bins) / some
    return mean_confidence, accuracy, count / len(classes)


def expected_calibration_error(probabilities: np.ndarray, classes: np.ndarray, *, bins: int = BINS) -> float:
    """The mean gap between confidence and accuracy, in 0..1, each bin weighted by its clips."""
    confidence, accuracy, weight = reliability(probabilities, classes, bins=bins)
    return float((weight * np.abs(confidence - accuracy)).sum())
