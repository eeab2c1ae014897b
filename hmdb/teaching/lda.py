"""Linear discriminant analysis with a shrunken covariance, for many more features than clips.

The covariance within the classes is shrunk towards a multiple of the identity by the amount of Ledoit & Wolf (2004, "A
well-conditioned estimator for large-dimensional covariance matrices"). It is computed in the span of the clips, where
all of its structure is: milliseconds instead of the seconds that scikit-learn takes for 1,152 features, and the same
result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_SINGULAR = 1e-6  # relative to the largest; smaller directions are rounding errors


@dataclass(frozen=True, kw_only=True, eq=False)
class Span:
    """Orthonormal coordinates in which clips have no more features than there are clips.

    Attributes:
        mean: float64 (D,): the origin.
        basis: float64 (R, D): orthonormal rows.
    """

    mean: np.ndarray
    basis: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Span:
        """The span of features (N, D), with R < N."""
        mean = features.mean(axis=0, dtype=np.float64)
        _, sizes, basis = np.linalg.svd(features - mean, full_matrices=False)
        return cls(mean=mean, basis=basis[sizes > MIN_SINGULAR * sizes[0]])

    def project(self, features: np.ndarray) -> np.ndarray:
        """(N, D) -> float64 (N, R)."""
        coordinates: np.ndarray = (features - self.mean) @ self.basis.T
        return coordinates

    def lift(self, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A linear function of coordinates, (K, R) and (K,), as one of features, (K, D) and (K,)."""
        lifted = weight @ self.basis
        return lifted, bias - lifted @ self.mean


def fit_lda(coordinates: np.ndarray, classes: np.ndarray, *, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Fits a linear classifier, with classes of equal prior probability.

    Args:
        coordinates: float (N, R), of a `Span`.
        classes: int (N,), each of 0 to K - 1 at least once.
        width: number of features D of which these are the coordinates.

    Returns:
        float64 weight (K, R) and bias (K,).
    """
    means = np.stack([coordinates[classes == index].mean(axis=0) for index in range(classes.max() + 1)])
    residuals = coordinates - means[classes]
    shrinkage, variance = _ledoit_wolf(residuals, width)
    covariance = (1 - shrinkage) * residuals.T @ residuals / len(residuals)
    covariance[np.diag_indices_from(covariance)] += max(shrinkage * variance, 1e-12)
    weight = np.linalg.solve(covariance, means.T).T
    return weight, -0.5 * (weight * means).sum(axis=1)


def _ledoit_wolf(residuals: np.ndarray, width: int) -> tuple[float, float]:
    """The shrinkage, 0..1, and the mean variance of `width` features."""
    count = len(residuals)
    gram = residuals @ residuals.T
    variance = np.trace(gram) / count / width
    norm = np.square(gram).sum() / count**2  # squared, of the covariance
    gap = norm - width * variance**2
    error = (np.square(np.diag(gram)).sum() / count - norm) / count
    return float(np.clip(error / gap, 0, 1)) if gap > 0 else 1.0, float(variance)
