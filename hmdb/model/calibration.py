"""What the probabilities are worth: temperature, threshold, and how far they are off.

A network is usually surer than it is right. Dividing its logits by one temperature, fitted on validation
clips, mends most of that without changing any answer (Guo et al. 2017, "On Calibration of Modern Neural
Networks"). Below the threshold an answer counts as "none of these".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from hmdb.errors import ModelError

BINS = 15  # as in Guo et al.
KEEP = 0.95  # of the right answers stay above the threshold
COLDEST, HOTTEST = 0.05, 20.0  # temperatures that are tried
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3  # that are accepted; logits stay finite


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How logits become probabilities. It travels in a checkpoint's config.json.

    Attributes:
        temperature: what the logits are divided by, 0.001 to 1000; above 1 makes answers less sure.
        threshold: the probability below which an answer counts as none of the labels; None: never.

    Raises:
        ModelError: a value that is no such number.
    """

    temperature: float = 1.0
    threshold: float | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("temperature", MIN_TEMPERATURE, MAX_TEMPERATURE), ("threshold", 0, 1)):
            value = getattr(self, name)
            if name == "threshold" and value is None:
                continue
            if type(value) not in (int, float) or not low <= value <= high:
                raise ModelError(f"The {name} of a calibration must be a number from {low} to {high}, not {value!r}.")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(..., K) logits -> float32 (..., K) probabilities that sum to 1."""
        scaled = logits.astype(np.float64) / self.temperature
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        probabilities: np.ndarray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
        return probabilities

    def accepts(self, probability: float) -> bool:
        """Whether an answer of this probability counts as one of the labels."""
        return self.threshold is None or probability >= self.threshold

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Calibration:
        """
        Raises:
            ModelError: not an object, unknown settings or values out of range.
        """
        if not isinstance(values, Mapping) or not set(values) <= {field.name for field in fields(cls)}:
            raise ModelError(f"The calibration in config.json is not one that this version knows: {values}.")
        return cls(**values)


def fit(logits: np.ndarray, classes: np.ndarray, *, keep: float = KEEP) -> Calibration:
    """The calibration that fits the validation clips.

    Args:
        logits: float (N, K) of clips that were not trained on.
        classes: int (N,), the right ones.
        keep: share of the right answers that the threshold leaves standing.
    """
    temperature = fit_temperature(logits, classes)
    probabilities = Calibration(temperature=temperature).probabilities(logits)
    return Calibration(temperature=temperature, threshold=fit_threshold(probabilities, classes, keep=keep))


def fit_temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """The temperature with the least negative log-likelihood, which has one minimum; golden-section search."""
    ratio = (np.sqrt(5) - 1) / 2
    low, high = np.log(COLDEST), np.log(HOTTEST)
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if negative_log_likelihood(logits / np.exp(left), classes) < negative_log_likelihood(
            logits / np.exp(right), classes
        ):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


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
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(classes)), classes]).mean())


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
