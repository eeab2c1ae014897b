"""Fits the out-of-distribution detector of a network (`hmdb.model.ood`), and estimates what it accepts.

All labelled clips are scored out of fold: by class statistics of the other folds. The network itself was trained on the
train clips, whose scores are therefore too high; they are shifted to the median of the val clips. So a few val clips
are enough to place the threshold, whose tail comes from all clips.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import fisher_exact
from sklearn.covariance import shrunk_covariance
from sklearn.model_selection import StratifiedKFold

from finetune.evaluation.calibrate import ACCEPT_RATE
from finetune.evaluation.metrics import wilson_interval
from hmdb.errors import DataError
from hmdb.model.ood import CONFIDENCES, OodDetector, OodScale, l2_normalize, mahalanobis_distances

SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity, since features are many and clips few
FOLDS = 5
SIGNIFICANT = 0.05
MIN_CLIPS = 3  # of a class, so that two remain when one fold is left out


class NoDetectorError(DataError):
    """No detector can be fitted to the clips, or none that can be shown to work."""


@dataclass(frozen=True, kw_only=True)
class OodFigures:
    """Out-of-fold val clips that a detector accepts, a preview of new clips.

    Attributes:
        right, right_accepted: correctly predicted val clips, and those among them that are accepted.
        hidden, hidden_accepted: val clips scored as if their class were none of the network's, a stand-in for other
            actions, and those among them that are accepted. Too good, since the network was trained on their classes.
    """

    right: int
    right_accepted: int
    hidden: int
    hidden_accepted: int

    @property
    def right_interval(self) -> tuple[float, float]:
        """The 95 % interval of the fraction of correct predictions that are accepted."""
        return wilson_interval(self.right_accepted / self.right, self.right)

    @property
    def hidden_interval(self) -> tuple[float, float]:
        """The 95 % interval of the fraction of clips of hidden classes that are accepted."""
        return wilson_interval(self.hidden_accepted / self.hidden, self.hidden)

    @property
    def differ(self) -> bool:
        """True if correct predictions are accepted more often than hidden classes, at the 5 % level (Fisher's test)."""
        counts = [
            [self.right_accepted, self.right - self.right_accepted],
            [self.hidden_accepted, self.hidden - self.hidden_accepted],
        ]
        return bool(fisher_exact(counts, alternative="greater").pvalue < SIGNIFICANT)


Outputs = tuple[np.ndarray, np.ndarray, np.ndarray]  # features (N, C), logits (N, K) and classes (N,) of clips


def fit_ood_detector(
    train: Outputs,
    val: Outputs,
    *,
    accept_rate: float = ACCEPT_RATE,  # the probability threshold accepts as many, so both accept at least 90 %
) -> tuple[OodDetector, OodFigures]:
    """Fits class statistics of the features, and a threshold.

    Args:
        accept_rate: fraction of the correct predictions to accept as in-distribution.

    Raises:
        NoDetectorError: the clips are too few, or hidden classes are accepted about as often as correct predictions.
    """
    features, logits, classes = (np.concatenate(parts) for parts in zip(train, val, strict=True))
    is_val, number = np.arange(len(classes)) >= len(train[2]), logits.shape[1]
    right = logits.argmax(axis=1) == classes
    fewest = int(np.bincount(classes, minlength=number).min())
    if fewest < MIN_CLIPS or not right[is_val].any():
        reason = (
            f"a class has fewer than {MIN_CLIPS} clips" if fewest < MIN_CLIPS else "no val clip is predicted correctly"
        )
        raise NoDetectorError(f"No detector of other actions can be fitted: {reason}.")
    folds = np.empty(len(classes), int)
    distances = np.empty(logits.shape)
    splitter = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
    for fold, (others, held_out) in enumerate(splitter.split(features, classes)):
        folds[held_out] = fold
        statistics = _class_statistics(features[others], classes[others], number)
        distances[held_out] = mahalanobis_distances(features[held_out], *statistics)
    distance = distances.min(axis=1)
    # of two classes one is left when the other is hidden, and has all the probability
    confidence = "log-odds" if number > 2 else "energy"
    confidences = CONFIDENCES[confidence](logits[is_val])
    scale = OodScale(
        confidence=confidence,
        confidence_mean=float(confidences.mean()),
        confidence_std=float(max(confidences.std(), 1e-6)),
        distance_mean=float(distance[is_val].mean()),
        distance_std=float(max(distance[is_val].std(), 1e-6)),
        threshold=0.0,
    )
    scores = scale.score(logits, distance)
    if (right & ~is_val).any():
        scores[~is_val] += np.median(scores[is_val & right]) - np.median(scores[~is_val & right])
    own = np.eye(number, dtype=bool)[classes]
    hidden = scale.score(np.where(own, -np.inf, logits)[is_val], np.where(own, np.inf, distances)[is_val].min(axis=1))

    def threshold(clips: np.ndarray) -> float:
        return float(np.quantile(scores[clips], 1 - accept_rate, method="lower"))

    elsewhere = np.array([threshold(right & (folds != fold)) for fold in range(folds.max() + 1)])[folds]
    figures = OodFigures(
        right=int((is_val & right).sum()),
        right_accepted=int((scores >= elsewhere)[is_val & right].sum()),
        hidden=len(hidden),
        hidden_accepted=int((hidden >= elsewhere[is_val]).sum()),
    )
    if not figures.differ:
        raise NoDetectorError(
            "No detector of other actions is written, as it cannot be shown to work: it would accept "
            f"{figures.right_accepted} of {figures.right} correctly predicted val clips, and "
            f"{figures.hidden_accepted} of {figures.hidden} val clips whose class is hidden from it."
        )
    means, whitening = _class_statistics(features, classes, number)
    return OodDetector(means=means, whitening=whitening, scale=replace(scale, threshold=threshold(right))), figures


def _class_statistics(features: np.ndarray, classes: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Whitened class means (K, C) and the whitening (C, C) of L2-normalized features, both float32."""
    directions = l2_normalize(features)
    means = np.stack([directions[classes == index].mean(axis=0) for index in range(number)])
    residuals = directions - means[classes]
    covariance = shrunk_covariance(residuals.T @ residuals / len(residuals), shrinkage=SHRINKAGE)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    return (means @ whitening.T).astype(np.float32), whitening.astype(np.float32)
