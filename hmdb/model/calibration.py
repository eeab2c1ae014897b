"""Calibration of probabilities: temperature, rejection threshold and reliability table.

Networks are usually overconfident. Dividing the logits by a temperature, fitted on validation clips, corrects most of
that without changing the predicted label (Guo et al. 2017, "On Calibration of Modern Neural Networks"). Below the
threshold a prediction counts as "none of these". The reliability table has the accuracy on those clips by confidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hmdb.errors import ModelError

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3  # logits stay finite


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Accuracy of the validation predictions in an interval of confidence.

    Attributes:
        low, high: bounds of the probability of the predicted label; low < probability <= high.
        count: number of predictions.
        right: number of correct predictions.

    Raises:
        ModelError: a value is out of range.
    """

    low: float
    high: float
    count: int
    right: int

    def __post_init__(self) -> None:
        numbers = all(type(each) in (int, float) for each in (self.low, self.high))
        whole = type(self.count) is int and type(self.right) is int
        if not (numbers and whole and 0 <= self.low < self.high <= 1 and 0 <= self.right <= self.count):
            raise ModelError(f"The answers of a calibration in config.json have an impossible row: {self}.")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Converts logits to probabilities. Stored in a checkpoint's config.json.

    Attributes:
        temperature: divisor of the logits, 0.001 to 1000; above 1 lowers the confidence.
        threshold: probability below which a prediction counts as none of the labels; None for no threshold.
        bins: the reliability table, by increasing probability; empty if it was not measured.

    Raises:
        ModelError: a value is out of range.
    """

    temperature: float = 1.0
    threshold: float | None = None
    bins: tuple[ReliabilityBin, ...] = ()

    def __post_init__(self) -> None:
        for name, low, high in (("temperature", MIN_TEMPERATURE, MAX_TEMPERATURE), ("threshold", 0, 1)):
            value = getattr(self, name)
            if name == "threshold" and value is None:
                continue
            if type(value) not in (int, float) or not low <= value <= high:
                raise ModelError(f"The {name} of a calibration must be a number from {low} to {high}, not {value!r}.")

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Logits (..., K) -> float32 (..., K), summing to 1."""
        scaled = logits.astype(np.float64) / self.temperature
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        probabilities: np.ndarray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
        return probabilities

    def bin_for(self, probability: float) -> ReliabilityBin | None:
        """The bin of a probability; None without a table, or if no validation prediction is in it."""
        return next((each for each in self.bins if each.low < probability <= each.high and each.count), None)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `answers` has a row (high, count, right) for each bin, starting at the `high` before it."""
        rows = [[each.high, each.count, each.right] for each in self.bins]
        return {"temperature": self.temperature, "threshold": self.threshold} | ({"answers": rows} if rows else {})

    @classmethod
    def from_dict(cls, values: object) -> Calibration:
        """
        Raises:
            ModelError: the value is not an object, or has unknown keys or values out of range.
        """
        if not isinstance(values, Mapping) or not set(values) <= {"temperature", "threshold", "answers"}:
            raise ModelError(f"The calibration in config.json is not supported by this version: {values}.")
        settings = {name: value for name, value in values.items() if name != "answers"}
        return cls(**settings, bins=_read_bins(values.get("answers", ())))


def _read_bins(rows: object) -> tuple[ReliabilityBin, ...]:
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise ModelError(f"The answers of the calibration in config.json are not rows of three numbers: {rows}.")
    low, bins = 0.0, []
    for high, count, right in rows:
        bins.append(ReliabilityBin(low=low, high=high, count=count, right=right))
        low = high
    return tuple(bins)
