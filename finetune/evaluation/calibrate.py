"""Fits the `Calibration` of a checkpoint to the logits of its val clips, and measures calibration error."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from hmdb.model.calibration import Calibration, ReliabilityBin

BINS = 15  # as in Guo et al.
TABLE_BINS = 10  # of the reliability table that a checkpoint carries, for people
DRAWS = 200  # of outcomes, for the error of a perfectly calibrated network
ACCEPT_RATE = 0.95  # of the correct val predictions, which the thresholds accept
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def fit_calibration(logits: np.ndarray, classes: np.ndarray) -> Calibration:
    """Fits temperature, threshold and reliability table.

    Args:
        logits: float (N, K) of clips that were not trained on.
        classes: int (N,), the true ones.
    """
    temperature = fit_temperature(logits, classes)
    probabilities = Calibration(temperature=temperature).probabilities(logits)
    return Calibration(
        temperature=temperature,
        threshold=fit_threshold(probabilities, classes),
        bins=reliability_table(probabilities, classes),
    )


def reliability_table(
    probabilities: np.ndarray, classes: np.ndarray, *, bins: int = TABLE_BINS
) -> tuple[ReliabilityBin, ...]:
    """Counts predictions and correct predictions by confidence, in `bins` equal parts of 0..1.

    Args:
        probabilities: float (N, K).
        classes: int (N,).
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == classes
    edges = np.round(np.linspace(0, 1, bins + 1), 6).tolist()
    table = []
    for low, high in itertools.pairwise(edges):
        inside = (low < confidence) & (confidence <= high)
        table.append(ReliabilityBin(low=low, high=high, count=int(inside.sum()), right=int(right[inside].sum())))
    return tuple(table)


def fit_temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """Fits the temperature with the least negative log-likelihood, which has one minimum (Guo et al. 2017)."""
    best = minimize_scalar(
        lambda power: negative_log_likelihood(logits / np.exp(power), classes),
        bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)),
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(best.x))


def fit_threshold(probabilities: np.ndarray, classes: np.ndarray) -> float | None:
    """Fits the probability that ACCEPT_RATE of the correct predictions reach; None if no prediction is correct.

    All val clips show one of the classes, so this bounds how often a correct prediction is rejected, not how often
    an out-of-distribution video is detected.

    Args:
        probabilities: float (N, K).
        classes: int (N,).
    """
    right = probabilities.argmax(axis=1) == classes
    if not right.any():
        return None
    return float(np.quantile(probabilities[right].max(axis=1), 1 - ACCEPT_RATE, method="lower"))


def negative_log_likelihood(logits: np.ndarray, classes: np.ndarray) -> float:
    """The mean cross-entropy of (N, K) logits.

    scikit-learn's `log_loss` takes probabilities, and clips those of confident errors.
    """
    logits = logits.astype(np.float64)
    return float((logsumexp(logits, axis=1) - logits[np.arange(len(classes)), classes]).mean())


def reliability(
    probabilities: np.ndarray, classes: np.ndarray, *, bins: int = BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bins confidence and accuracy by confidence.

    Args:
        probabilities: float (N, K).
        classes: int (N,).

    Returns:
        Mean confidence, accuracy and fraction of the clips in each of `bins` equal parts of 0..1: (bins,)
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
    """The expected calibration error, 0..1: the mean gap between confidence and accuracy, weighted by clips."""
    confidence, accuracy, weight = reliability(probabilities, classes, bins=bins)
    return float((weight * np.abs(confidence - accuracy)).sum())


def chance_calibration_error(probabilities: np.ndarray) -> float:
    """The error that a perfectly calibrated network would show on so few clips, 0..1, where each bin is noisy.

    Mean over drawn outcomes: each prediction is correct with its own probability.

    Args:
        probabilities: float (N, K), K above 1.
    """
    rng, best = np.random.default_rng(0), probabilities.argmax(axis=1)
    confidence, number = probabilities.max(axis=1), probabilities.shape[1]
    outcomes = (np.where(rng.random(len(best)) < confidence, best, (best + 1) % number) for _ in range(DRAWS))
    return float(np.mean([expected_calibration_error(probabilities, classes) for classes in outcomes]))
