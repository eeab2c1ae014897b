"""The out-of-distribution detector that training fits, on few clips and many."""

import numpy as np
import pytest

from finetune.evaluation.ood import NoDetectorError, OodFigures, Outputs, fit_ood_detector

CLASSES, WIDTH = 4, 16


def clips(seed: int, count: int, *, distance: float = 4.0, lift: float = 1.0) -> Outputs:
    """Features around one direction for each class, logits that follow them, and the classes.

    Args:
        lift: of features and logits towards their class, as in clips that were trained on.
    """
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % CLASSES
    features = lift * distance * np.eye(CLASSES, WIDTH)[classes] + rng.normal(0, 1, (count, WIDTH))
    return features.astype(np.float32), (2 * features[:, :CLASSES]).astype(np.float32), classes


def test_few_val_clips_and_many_trained_clips_place_the_threshold() -> None:
    """The train clips look better than new ones will, which must not reject most of those."""
    detector, figures = fit_ood_detector(clips(0, 200, lift=2.0), clips(1, 20))
    features, logits, classes = clips(2, 2000)
    right = logits.argmax(axis=1) == classes
    accepted = (detector.score(features, logits)[right] >= 0).mean()
    low, high = figures.right_interval
    assert low <= accepted <= high
    assert accepted > 0.8


def test_the_figures_preview_new_clips_of_classes_and_others() -> None:
    detector, figures = fit_ood_detector(clips(0, 200), clips(1, 400), accept_rate=0.9)
    assert (figures.hidden, figures.right) == (400, (clips(1, 400)[1].argmax(axis=1) == clips(1, 400)[2]).sum())
    assert figures.right_accepted / figures.right == pytest.approx(0.9, abs=0.03)
    noise = np.random.default_rng(3).normal(0, 1, (400, WIDTH)).astype(np.float32)
    others = (detector.score(noise, 2 * noise[:, :CLASSES]) >= 0).mean()
    low, high = figures.hidden_interval
    assert low - 0.05 <= others <= high + 0.05


def test_no_detector_where_hidden_classes_are_accepted_as_often() -> None:
    """Ten clips: all are accepted, and so are those of hidden classes."""
    with pytest.raises(NoDetectorError, match=r"cannot be shown to work: it would accept \d+ of \d+ correctly"):
        fit_ood_detector(clips(0, 20, distance=0.8), clips(1, 10, distance=0.8))


def test_ten_val_clips_can_be_enough() -> None:
    assert OodFigures(right=9, right_accepted=7, hidden=10, hidden_accepted=2).differ
    assert not OodFigures(right=8, right_accepted=7, hidden=10, hidden_accepted=9).differ
    _, figures = fit_ood_detector(clips(0, 20, distance=12.0), clips(1, 10, distance=12.0))
    assert figures.right_accepted >= 9
    assert figures.right_interval[0] < 0.75


def test_too_few_or_only_wrong_clips_are_refused() -> None:
    features, logits, _ = clips(1, 40)
    with pytest.raises(NoDetectorError, match="no val clip is predicted correctly"):
        fit_ood_detector(clips(0, 40), (features, logits, (logits.argmax(axis=1) + 1) % CLASSES))
    with pytest.raises(NoDetectorError, match="a class has fewer than 3 clips"):
        fit_ood_detector(clips(0, 4), clips(1, 4))
