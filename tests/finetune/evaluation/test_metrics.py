import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, log_loss, top_k_accuracy_score

from finetune.evaluation.calibrate import negative_log_likelihood
from finetune.evaluation.metrics import (
    Confusion,
    Predictions,
    accuracy,
    average_views,
    confused_pairs,
    confusion,
    mean_recall,
    per_class,
    top_accuracies,
    top_k_accuracy,
    wilson_interval,
)

LOGITS = np.array([[3.0, 2, 1], [3, 2, 1], [1, 3, 2], [2, 1, 3]])
CLASSES = np.array([0, 1, 1, 1])


def test_top_k() -> None:
    assert top_accuracies(LOGITS, CLASSES) == {"top1": 0.5, "top5": 1.0}
    assert top_k_accuracy(LOGITS, CLASSES, 2) == 0.75


def test_mean_class_accuracy_weights_classes_equally() -> None:
    assert mean_recall(confusion(LOGITS, CLASSES)) == pytest.approx((1 + 1 / 3) / 2), "of two with clips"
    assert mean_recall(np.array([[9, 0, 0], [0, 0, 1], [0, 0, 0]])) == 0.5


@pytest.mark.parametrize(
    ("share", "count", "interval"), [(0.936, 125, (0.879, 0.967)), (0.0, 10, (0.0, 0.278)), (1.0, 10, (0.722, 1.0))]
)
def test_wilson_interval(share: float, count: int, interval: tuple[float, float]) -> None:
    assert wilson_interval(share, count) == pytest.approx(interval, abs=5e-4)


def test_confusion_per_class_scores_and_confused_pairs() -> None:
    counts = confusion(LOGITS, CLASSES)
    assert counts.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]
    labels = ("run", "jump", "sit")
    rows = per_class(LOGITS, CLASSES, labels)
    assert rows[1].precision == 1.0
    assert rows[1].recall == pytest.approx(1 / 3)
    assert [row.clips for row in rows] == [1, 3, 0]
    assert confused_pairs(counts, labels) == (
        Confusion(label="jump", taken_for="run", clips=1),
        Confusion(label="jump", taken_for="sit", clips=1),
    )


def test_views_are_averaged_as_probabilities() -> None:
    def outcome(*logits: float, name: str = "a") -> Predictions:
        return Predictions(split="test", names=(name,), logits=np.array([logits]), classes=np.array([0]), seconds=1.0)

    found = average_views([outcome(0.0, 0.0), outcome(9.0, 9 + np.log(3))])
    np.testing.assert_allclose(np.exp(found.logits), [[0.375, 0.625]], rtol=1e-6)
    assert found.seconds == 2.0
    with pytest.raises(ValueError, match="different clips"):
        average_views([outcome(0.0, 1.0), outcome(0.0, 1.0, name="b")])


def test_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(200) % 8
    logits = (rng.normal(size=(200, 8)) + 1.5 * np.eye(8)[classes]).astype(np.float32)
    predictions = Predictions(split="test", names=("",) * 200, logits=logits, classes=classes, seconds=1.0)
    figures = accuracy(predictions)
    assert 0.3 < figures.top1 < figures.top5 < 1
    assert figures.top1 == pytest.approx(top_k_accuracy_score(classes, logits, k=1))
    assert figures.top5 == pytest.approx(top_k_accuracy_score(classes, logits, k=5))
    assert figures.mean_class == pytest.approx(balanced_accuracy_score(classes, logits.argmax(axis=1)))
    assert figures.loss == pytest.approx(log_loss(classes, softmax(logits.astype(np.float64), axis=1)))
    sure = np.array([[0.0, 100.0]])
    assert negative_log_likelihood(sure, np.array([0])) == pytest.approx(100), "where log_loss stops at 36"
    assert log_loss([0], softmax(sure, axis=1), labels=[0, 1]) == pytest.approx(36.04, abs=0.01)
