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
