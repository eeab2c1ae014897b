"""Whether a clip shows any of the actions at all.

A network gives some label to whatever it sees. Two things tell strangers, each of another kind: what looks like
nothing that was trained on lies far from every class (Mahalanobis distance of features of length 1; Mueller & Hein
2025, "Mahalanobis++"), and another action of people, which lies near, has little energy (Liu et al. 2020, the
log-sum-exp of the logits). Both are measured in standard deviations of validation clips and added.

An answer has to be likely enough besides, as without these statistics.

What that takes is a safetensors file beside the weights and a few numbers in config.json. A checkpoint without them
decides by its probability.
"""

from __future__ import annotations

from collections.abc import Mapping
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
MAX_FILE_BYTES = 1e6  # of a number among the statistics


@dataclass(frozen=True, kw_only=True)
class OodScale:
    """What the two measures of clips that show one of the actions are, and from where on a clip counts as one.

    Attributes:
        energy_mean, energy_std: of the log-sum-exp of their logits.
        distance_mean, distance_std: of the distance from the nearest class.
        threshold: of the sum of both, in standard deviations.

    Raises:
        ModelError: a value that is no such number.
    """

    energy_mean: float
    energy_std: float
    distance_mean: float
    distance_std: float
    threshold: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            low = 1e-9 if name.endswith("_std") else -MAX_FILE_BYTES
            if type(value) not in (int, float) or not low <= value <= MAX_FILE_BYTES:
                raise ModelError(f"{name} of {OOD_KEY} in config.json must be a number from {low:g}, not {value!r}.")

    @classmethod
    def from_dict(cls, values: object) -> OodScale:
        """
        Raises:
            ModelError: not an object, other settings than those above, or values out of range.
        """
        if not isinstance(values, Mapping) or set(values) != {field.name for field in fields(cls)}:
            raise ModelError(f"What config.json says of {OOD_KEY} is not what this version knows: {values}.")
        return cls(**values)


@dataclass(frozen=True, kw_only=True, eq=False)
class OodDetector:
    """Statistics of the features of the classes.

    Attributes:
        means: float32 (K, C), of the whitened features of length 1 of each class.
        whitening: float32 (C, C), after which their shared covariance is the identity.
        scale: of the measures.
    """

    means: np.ndarray
    whitening: np.ndarray
    scale: OodScale

    def score(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """How far clips are on the known side: float32 (N,), below 0 for none of the labels.

        Args:
            features: float32 (N, C), which the classifier reads.
            logits: float32 (N, K).
        """
        scale = self.scale
        energy = (energy_scores(logits) - scale.energy_mean) / scale.energy_std
        distance = (
            mahalanobis_distances(features, self.means, self.whitening) - scale.distance_mean
        ) / scale.distance_std
        return (energy - distance - scale.threshold).astype(np.float32)

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the statistics into a folder; returns what belongs into its config.json."""
        values = {"means": self.means, "whitening": self.whitening}
        save_file({name: np.ascontiguousarray(value) for name, value in values.items()}, folder / OOD_FILE)
        return asdict(self.scale)

    @classmethod
    def load(cls, folder: Path, config: Mapping[str, Any], *, labels: int, width: int, name: str) -> OodDetector | None:
        """Those of a checkpoint; None where it has none.

        Args:
            config: the contents of its config.json.
            labels, width: how many labels and features its network has.

        Raises:
            ModelError: they do not fit the network, are not finite, or one half of them is missing.
        """
        path = folder / OOD_FILE
        if OOD_KEY not in config and not path.exists():
            return None
        if OOD_KEY not in config or not path.exists():
            missing = OOD_FILE if OOD_KEY in config else f"{OOD_KEY} in config.json"
            raise ModelError(f"{name} has only half of the statistics that tell strangers: {missing} is missing.")
        scale = OodScale.from_dict(config[OOD_KEY])
        try:
            found = load_file(path)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{OOD_FILE} of {name} cannot be read: {first_line(error)}") from error
        for key, shape in {"means": (labels, width), "whitening": (width, width)}.items():
            if key not in found or found[key].shape != shape or found[key].dtype != np.float32:
                has = f"{found[key].dtype} {found[key].shape}" if key in found else "nothing"
                raise ModelError(f"{key} in {OOD_FILE} of {name} must be float32 {shape}, and is {has}.")
            if not np.isfinite(found[key]).all():
                raise ModelError(f"{key} in {OOD_FILE} of {name} are damaged: some are not finite numbers.")
        return cls(means=found["means"], whitening=found["whitening"], scale=scale)


def energy_scores(logits: np.ndarray) -> np.ndarray:
    """(N, K) -> float64 (N,): the log-sum-exp of the logits."""
    found: np.ndarray = np.logaddexp.reduce(logits.astype(np.float64), axis=1)
    return found


def l2_normalize(features: np.ndarray) -> np.ndarray:
    """(N, C) -> float64 (N, C)."""
    features = features.astype(np.float64)
    found: np.ndarray = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return found


def mahalanobis_distances(features: np.ndarray, means: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """(N, C) -> float64 (N,): the squared Mahalanobis distance from the nearest class."""
    white = l2_normalize(features) @ whitening.astype(np.float64).T
    gaps = white[:, None] - means[None]
    found: np.ndarray = np.square(gaps).sum(axis=2).min(axis=1)
    return found
