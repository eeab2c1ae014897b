"""Temperature, threshold and calibration error, on answers whose right values are known."""

import numpy as np
import pytest

from finetune.evaluation import calibrate
from hmdb.model.calibration import Calibration

TRUE_TEMPERATURE = 2.5


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    """Logits (4000, 6) that are TRUE_TEMPERATURE times too sure, and the classes."""
    rng = np.random.default_rng(0)
    fair = rng.normal(size=(4000, 6)) * 2
    chances = np.exp(fair) / np.exp(fair).sum(axis=1, keepdims=True)
    classes = np.array([rng.choice(6, p=chance) for chance in chances])
    return fair * TRUE_TEMPERATURE, classes


def test_the_temperature_is_found(answers: tuple[np.ndarray, np.ndarray]) -> None:
    assert calibrate.fit_temperature(*answers) == pytest.approx(TRUE_TEMPERATURE, rel=0.05)


def test_calibrating_mends_the_error_and_changes_no_answer(answers: tuple[np.ndarray, np.ndarray]) -> None:
    logits, classes = answers
    before = Calibration().probabilities(logits)
    after = calibrate.fit_calibration(logits, classes).probabilities(logits)
    assert calibrate.expected_calibration_error(before, classes) > 0.1
    assert calibrate.expected_calibration_error(after, classes) < 0.03
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))
    np.testing.assert_allclose(after.sum(1), 1, rtol=1e-5)


def test_answers_are_counted_by_how_sure_they_are(answers: tuple[np.ndarray, np.ndarray]) -> None:
    logits, classes = answers
    fitted = calibrate.fit_calibration(logits, classes)
    assert [each.high for each in fitted.bins] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert sum(each.count for each in fitted.bins) == len(classes)
    right = (logits.argmax(1) == classes).sum()
    assert sum(each.right for each in fitted.bins) == right
    for each in fitted.bins:
        if each.count > 200:
            assert each.low - 0.05 < each.right / each.count < each.high + 0.05
    alike = fitted.bin_for(0.44)
    assert alike
    assert (alike.low, alike.high) == (0.4, 0.5)
    assert fitted.bin_for(0.05) is None  # the likeliest of six labels is never that unlikely
    assert Calibration().bin_for(0.44) is None


def test_the_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    classes = np.array([0, 1, 1, 1])
    # 0.9 sure and half right; 0.6 sure and always right
    assert calibrate.expected_calibration_error(probabilities, classes, bins=10) == pytest.approx(0.4)
    confidence, accuracy, weight = calibrate.reliability(probabilities, classes, bins=10)
    assert (confidence[8], accuracy[8], weight[8]) == pytest.approx((0.9, 0.5, 0.5))
    assert weight.sum() == pytest.approx(1)


def test_a_sure_and_right_model_has_no_error() -> None:
    assert calibrate.expected_calibration_error(np.eye(3), np.arange(3)) == 0


def test_likelihood_does_not_overflow() -> None:
    assert calibrate.negative_log_likelihood(np.array([[1e5, 0.0]]), np.array([0])) == 0
    assert np.isfinite(Calibration().probabilities(np.array([[1e5, 0.0]], np.float32))).all()


def test_the_threshold_accepts_correct_predictions(answers: tuple[np.ndarray, np.ndarray]) -> None:
    logits, classes = answers
    fitted = calibrate.fit_calibration(logits, classes)
    probabilities = fitted.probabilities(logits)
    right = probabilities.argmax(1) == classes
    assert fitted.threshold is not None
    kept = probabilities.max(1) >= fitted.threshold
    assert kept[right].mean() == pytest.approx(calibrate.ACCEPT_RATE, abs=0.005)
    assert kept[~right].mean() < 0.9


def test_no_threshold_without_a_correct_prediction() -> None:
    assert calibrate.fit_threshold(np.array([[0.9, 0.1]]), np.array([1])) is None


def test_few_clips_show_an_error_that_is_only_chance() -> None:
    """Where a network is perfectly calibrated, its error is the one by chance, and vanishes with many clips."""
    rng = np.random.default_rng(0)
    found = {}
    for clips in (100, 20000):
        confidence = rng.uniform(0.5, 1, clips)
        probabilities = np.stack([confidence, 1 - confidence], axis=1)
        classes = (rng.random(clips) >= confidence).astype(int)
        found[clips] = calibrate.chance_calibration_error(probabilities)
        assert calibrate.expected_calibration_error(probabilities, classes) == pytest.approx(found[clips], abs=0.04)
    assert found[100] > 0.05
    assert found[20000] < 0.01
