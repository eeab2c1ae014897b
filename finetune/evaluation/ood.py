"""Features of training and validation clips -> the statistics that tell strangers (`hmdb.model.ood`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finetune.evaluation.calibrate import KEEP
from hmdb.model.ood import OodDetector, OodScale, energy_scores, l2_normalize, mahalanobis_distances

SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity, since features are many and clips few


def fit_ood_detector(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    keep: float = KEEP,  # as many are likely enough, so at least 90 % of the right answers are both
) -> OodDetector | None:
    """The statistics of a network.

    Args:
        train: features (N, C) of the training clips, which the classifier reads, and their classes (N,).
        val: features (M, C), logits (M, K) and classes (M,) of the validation clips.
        keep: share of the right answers on validation clips that are to count as known.

    Returns:
        None where a class has no training clip or no validation clip is answered right.
    """
    features, classes = train
    number = val[1].shape[1]
    right = val[1].argmax(axis=1) == val[2]
    if not right.any() or len(set(classes.tolist())) < number:
        return None
    directions = l2_normalize(features)
    means = np.stack([directions[classes == index].mean(axis=0) for index in range(number)])
    rest = directions - means[classes]
    covariance = rest.T @ rest / len(rest)
    width = len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / width * np.eye(width)
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
    known = OodDetector(means=white_means, whitening=whitening, scale=scale)
    score = known.score(val[0], val[1])[right]
    return replace(known, scale=replace(scale, threshold=float(np.quantile(score, 1 - keep, method="lower"))))
