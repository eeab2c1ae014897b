"""Out-of-distribution detection: rejects clips that show none of the actions.

A classifier gives some label to any input. Two scores detect out-of-distribution clips. Clips unlike the training data
are far from every class: the Mahalanobis distance of L2-normalized features (Mueller & Hein 2025, "Mahalanobis++").
Other human actions are nearer, but the network hesitates between labels: the log-odds of the first, or the energy of
the logits (Liu et al. 2020). Both are standardized by validation clips, and the distance is subtracted. The probability
has to reach the threshold of the calibration in addition: `hmdb.results.rejection_reason` puts them together.

The statistics are a safetensors file next to the weights and a few numbers in config.json. For a checkpoint without
them, the probability alone decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hmdb.errors import ModelError
from hmdb.text import first_line

OOD_FILE = "known.safetensors"
OOD_KEY = "known"  # in config.json
MAX_STATISTIC = 1e6


@dataclass(frozen=True, kw_only=True)
class OodScale:
    """Standardization and threshold of the two scores, from validation clips.

    Attributes:
        confidence: the score of the logits, a name in `CONFIDENCES`.
        confidence_mean, confidence_std: of that score.
        distance_mean, distance_std: of the squared Mahalanobis distance from the nearest class.
        threshold: smallest standardized confidence minus distance of an in-distribution clip.

    Raises:
        ModelError: a value is not a number or out of range, or the confidence has another name.
    """

    confidence: str
    confidence_mean: float
    confidence_std: float
    distance_mean: float
    distance_std: float
    threshold: float

    def __post_init__(self) -> None:
        if self.confidence not in CONFIDENCES:
            raise ModelError(f"confidence of {OOD_KEY} in config.json must be one of {', '.join(CONFIDENCES)}.")
        for name, value in asdict(self).items():
            low = 1e-9 if name.endswith("_std") else -MAX_STATISTIC
            if name != "confidence" and (type(value) not in (int, float) or not low <= value <= MAX_STATISTIC):
                raise ModelError(f"{name} of {OOD_KEY} in config.json must be a number from {low:g}, not {value!r}.")

    def score(self, logits: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Standardized confidences minus standardized distances minus the threshold: (N, K), (N,) -> (N,)."""
        confidence = (CONFIDENCES[self.confidence](logits) - self.confidence_mean) / self.confidence_std
        distance = (distances - self.distance_mean) / self.distance_std
        score: np.ndarray = confidence - distance - self.threshold
        return score

    @classmethod
    def from_dict(cls, values: object) -> OodScale:
        """Reads the value of `OOD_KEY`; former checkpoints have energy_mean and energy_std.

        Raises:
            ModelError: the value is not an object, or has other keys or values out of range.
        """
        read = values
        if isinstance(values, Mapping) and "energy_mean" in values:
            read = {key.replace("energy_", "confidence_"): value for key, value in values.items()}
            read["confidence"] = "energy"
        if not isinstance(read, Mapping) or set(read) != {field.name for field in fields(cls)}:
            raise ModelError(f"{OOD_KEY} in config.json is not supported by this version: {values}.")
        return cls(**read)


@dataclass(frozen=True, kw_only=True, eq=False)
class OodDetector:
    """An out-of-distribution detector, from statistics of the features of each class.

    Attributes:
        means: float32 (K, C): mean of the whitened L2-normalized features of each class.
        whitening: float32 (C, C): makes the shared covariance of the classes the identity.
        scale: standardization and threshold of the scores.
    """

    means: np.ndarray
    whitening: np.ndarray
    scale: OodScale

    def score(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """In-distribution scores, float32 (N,): larger for clips like the training data, below 0 is OOD.

        Args:
            features: float32 (N, C), the input of the classifier.
            logits: float32 (N, K).
        """
        distances = mahalanobis_distances(features, self.means, self.whitening).min(axis=1)
        return self.scale.score(logits, distances).astype(np.float32)

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the statistics into a folder, and returns the value of `OOD_KEY` for its config.json."""
        values = {"means": self.means, "whitening": self.whitening}
        save_file({name: np.ascontiguousarray(value) for name, value in values.items()}, folder / OOD_FILE)
        return asdict(self.scale)

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any], *, labels: int, width: int, name: str) -> OodDetector | None:
        """Loads the detector of a checkpoint; None if it has none.

        Args:
            config: contents of its config.json.
            labels, width: number of labels and features of its network.
            name: name of the checkpoint, for errors.

        Raises:
            ModelError: the statistics do not fit the network, are not finite, or the file or the key is missing.
        """
        path = folder / OOD_FILE
        if OOD_KEY not in config and not path.exists():
            return None
        if OOD_KEY not in config or not path.exists():
            missing = OOD_FILE if OOD_KEY in config else f"{OOD_KEY} in config.json"
            raise ModelError(f"The out-of-distribution detector of {name} is incomplete: {missing} is missing.")
        scale = OodScale.from_dict(config[OOD_KEY])
        try:
            arrays = load_file(path)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{OOD_FILE} of {name} cannot be read: {first_line(error)}") from error
        for key, shape in {"means": (labels, width), "whitening": (width, width)}.items():
            if key not in arrays or arrays[key].shape != shape or arrays[key].dtype != np.float32:
                actual = f"{arrays[key].dtype} {arrays[key].shape}" if key in arrays else "missing"
                raise ModelError(f"{key} in {OOD_FILE} of {name} must be float32 {shape}, and is {actual}.")
            if not np.isfinite(arrays[key]).all():
                raise ModelError(f"{key} in {OOD_FILE} of {name} are damaged: some are not finite numbers.")
        return cls(means=arrays["means"], whitening=arrays["whitening"], scale=scale)


def energy_scores(logits: np.ndarray) -> np.ndarray:
    """The log-sum-exp of logits: (N, K) -> float64 (N,)."""
    energies: np.ndarray = np.logaddexp.reduce(logits.astype(np.float64), axis=1)
    return energies


def log_odds(logits: np.ndarray) -> np.ndarray:
    """The logarithm of the largest probability over that of all others: (N, K) -> float64 (N,)."""
    ordered = np.sort(logits.astype(np.float64), axis=1)
    odds: np.ndarray = np.minimum(ordered[:, -1] - np.logaddexp.reduce(ordered[:, :-1], axis=1), MAX_STATISTIC)
    return odds


CONFIDENCES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"log-odds": log_odds, "energy": energy_scores}


def l2_normalize(features: np.ndarray) -> np.ndarray:
    """Features of length 1: (N, C) -> float64 (N, C)."""
    features = features.astype(np.float64)
    normalized: np.ndarray = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return normalized


def mahalanobis_distances(features: np.ndarray, means: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances from the classes: (N, C) -> float64 (N, K)."""
    white = l2_normalize(features) @ whitening.astype(np.float64).T
    return np.stack([np.square(white - mean).sum(axis=1) for mean in means], axis=1)
