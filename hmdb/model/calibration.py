"""What the probabilities are worth: temperature, threshold, and how far they are off.

A network is usually surer than it is right. Dividing its logits by one temperature, fitted on validation
clips, mends most of that without changing any answer (Guo et al. 2017, "On Calibration of Modern Neural
Networks"). Below the threshold an answer counts as "none of these". How often answers of each sureness were right
on those clips is counted, for people to see what a percentage means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hmdb.errors import ModelError

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3  # that are accepted; logits stay finite


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Answers of like probability to clips whose right label is known.

    Attributes:
        low, high: between which their probability lies; `high` is included.
        count: how many there were.
        right: how many of them were right.

    Raises:
        ModelError: numbers that cannot be these.
    """

    low: float
    high: float
    count: int
    right: int

    def __post_init__(self) -> None:
        numbers = all(type(each) in (int, float) for each in (self.low, self.high))
        whole = type(self.count) is int and type(self.right) is int
        if not (numbers and whole and 0 <= self.low < self.high <= 1 and 0 <= self.right <= self.count):
            raise ModelError(f"The answers of a calibration cannot be {self}.")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How logits become probabilities. It travels in a checkpoint's config.json.

    Attributes:
        temperature: what the logits are divided by, 0.001 to 1000; above 1 makes answers less sure.
        threshold: the probability below which an answer counts as none of the labels; None: never.
        answers: how often answers to validation clips were right, by their probability; empty if nobody counted.

    Raises:
        ModelError: a value that is no such number.
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
        """(..., K) logits -> float32 (..., K) probabilities that sum to 1."""
        scaled = logits.astype(np.float64) / self.temperature
        powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        probabilities: np.ndarray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
        return probabilities

    def bin_for(self, probability: float) -> ReliabilityBin | None:
        """The validation clips whose answers were about as sure; None where there are none."""
        return next((each for each in self.bins if each.low < probability <= each.high and each.count), None)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `answers` are rows of upper edge, answers, right, each beginning where that before ends."""
        rows = [[each.high, each.count, each.right] for each in self.bins]
        return {"temperature": self.temperature, "threshold": self.threshold} | ({"answers": rows} if rows else {})

    @classmethod
    def from_dict(cls, values: object) -> Calibration:
        """
        Raises:
            ModelError: not an object, unknown settings or values out of range.
        """
        if not isinstance(values, Mapping) or not set(values) <= {"temperature", "threshold", "answers"}:
            raise ModelError(f"The calibration in config.json is not one that this version knows: {values}.")
        settings = {name: value for name, value in values.items() if name != "answers"}
        return cls(**settings, bins=_read_bins(values.get("answers", ())))


def _read_bins(rows: object) -> tuple[ReliabilityBin, ...]:
    if not isinstance(rows, list | tuple) or not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise ModelError(f"The answers of the calibration in config.json are no rows of three numbers: {rows}.")
    low, found = 0.0, []
    for high, count, right in rows:
        found.append(ReliabilityBin(low=low, high=high, count=count, right=right))
        low = high
    return tuple(found)
