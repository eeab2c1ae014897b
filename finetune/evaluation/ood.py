"""Fits the out-of-distribution detector of a network (`hmdb.model.ood`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.covariance import shrunk_covariance

from finetune.evaluation.calibrate import ACCEPT_RATE
from hmdb.model.ood import OodDetector, OodScale, energy_scores, l2_normalize, mahalanobis_distances

SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity, since features are many and clips few


def fit_ood_detector(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    accept_rate: float = ACCEPT_RATE,  # the probability threshold accepts as many, so both accept at least 90 %
) -> OodDetector | None:
    """Fits class statistics of the features, and a threshold.

    Args:
        train: features (N, C) of the training clips, which the classifier reads, and their classes (N,).
        val: features (M, C), logits (M, K) and classes (M,) of the val clips.
        accept_rate: fraction of the correct val predictions to accept as in-distribution.

    Returns:
        None if a class has no training clip or no val clip is predicted correctly.
    """
    features, classes = train
    number = val[1].shape[1]
    right = val[1].argmax(axis=1) == val[2]
    if not right.any() or len(set(classes.tolist())) < number:
        return None
    directions = l2_normalize(features)
    means = np.stack([directions[classes == index].mean(axis=0) for index in range(number)])
    residuals = directions - means[classes]
    covariance = shrunk_covariance(residuals.T @ residuals / len(residuals), shrinkage=SHRINKAGE)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    white_means = (means @ whitening.T).astype(np.float32)
    whitening = whitening.astype(np.float32)
    energy, distance = energy_scores(val[1]), mahalanobis_distances(val[0], white_means, whitening)
    scale = OodScale(
        energy_mean=float(energy.mean()),
        energy_std=float(max(energy.std(), 1e-6)),
        distance_mean=float(distance.mean()),
        distance_std=float(max(distance.std(), 1e-6)),
        threshold=0.0,
    )
    detector = OodDetector(means=white_means, whitening=whitening, scale=scale)
    score = detector.score(val[0], val[1])[right]
    return replace(detector, scale=replace(scale, threshold=float(np.quantile(score, 1 - accept_rate, method="lower"))))
