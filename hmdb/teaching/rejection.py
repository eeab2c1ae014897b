"""Rejection of strangers: clips that show none of the taught actions.

Three scores detect them: low energy, the log-sum-exp of the logits; a large distance from the mean of the nearest
action; and, where negatives were given, the logit of a class that they form. Their weights and the threshold come from
clips that were left out of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ACCEPT_RATE = 0.9  # of the clips left out that are named right
MIN_NEGATIVES = 3  # to weigh the scores by
RIDGE = 1.0  # penalty on the weights of the standardized scores
STEPS = 20  # of Newton's method


@dataclass(frozen=True, kw_only=True, eq=False)
class StrangerDetector:
    """A detector of strangers.

    Attributes:
        means: float32 (K, D): mean features of each action.
        none_weight, none_bias: float32 (D,) and a number: the logit of the negatives; all 0 without negatives.
        coefficients: weights of energy, distance and lead over the negatives, and the threshold.
    """

    means: np.ndarray
    none_weight: np.ndarray
    none_bias: float
    coefficients: tuple[float, float, float, float]

    def score(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """In-distribution scores, float32 (N,): below 0 for strangers.

        Args:
            features: float (N, D).
            logits: float (N, K).
        """
        none = features @ self.none_weight + self.none_bias if self.none_weight.any() else None
        scores = raw_scores(logits, nearest_distance(features, self.means), none) @ np.array(self.coefficients[:3])
        shifted: np.ndarray = (scores - self.coefficients[3]).astype(np.float32)
        return shifted


def nearest_distance(features: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The mean squared difference from the nearest mean: (N, D), (K, D) -> float64 (N,)."""
    gaps = np.square(features[:, None].astype(np.float64) - means[None]).mean(axis=2)
    distance: np.ndarray = gaps.min(axis=1)
    return distance


def raw_scores(logits: np.ndarray, distance: np.ndarray, none: np.ndarray | None) -> np.ndarray:
    """Energy, distance and lead over the negatives (0 without them): float64 (N, 3)."""
    logits = logits.astype(np.float64)
    lead = np.zeros(len(logits)) if none is None else logits.max(axis=1) - none
    return np.stack([np.logaddexp.reduce(logits, axis=1), distance, lead], axis=1)


def fit_coefficients(
    scores: np.ndarray, right: np.ndarray, strangers: np.ndarray
) -> tuple[float, float, float, float] | None:
    """Weighs scores of clips that were left out of the fit.

    Args:
        scores: float (N, 3), of `raw_scores`.
        right: bool (N,): clips of actions that are named right.
        strangers: bool (N,): negatives.

    Returns:
        The coefficients of a `StrangerDetector`; None if no clip is named right.
    """
    if not right.any():
        return None
    scale = scores[right].std(axis=0) + 1e-9
    weights = np.array([1.0, -1.0, 0.0]) / scale
    if strangers.sum() >= MIN_NEGATIVES:
        kept = right | strangers
        middle, spread = scores[kept].mean(axis=0), scores[kept].std(axis=0) + 1e-9
        weights = _logistic_regression((scores[kept] - middle) / spread, right[kept]) / spread
    threshold = np.quantile((scores @ weights)[right], 1 - ACCEPT_RATE, method="lower")
    first, second, third = weights.tolist()
    return first, second, third, float(threshold)


def _logistic_regression(values: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Weights (F,) of standardized values (N, F), with both classes of equal weight in all."""
    inputs = np.column_stack([values, np.ones(len(values))])
    importance = np.where(positive, 0.5 / positive.mean(), 0.5 / (~positive).mean())
    penalty = RIDGE * np.diag([*np.ones(values.shape[1]), 1e-9])
    weights = np.zeros(inputs.shape[1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ weights, -30, 30)))
        gradient = inputs.T @ (importance * (chance - positive)) + penalty @ weights
        curvature = inputs.T @ (inputs * (importance * chance * (1 - chance))[:, None]) + penalty
        weights -= np.linalg.solve(curvature, gradient)
    result: np.ndarray = weights[:-1]
    return result
