import numpy as np
import pytest

from finetune.evaluation.metrics import (
    Confusion,
    Predictions,
    accuracies,
    averaged,
    confused_pairs,
    confusion,
    mean_class_accuracy,
    per_class,
    top_k_accuracy,
    wilson_interval,
)

LOGITS = np.array([[3.0, 2, 1], [3, 2, 1], [1, 3, 2], [2, 1, 3]])
CLASSES = np.array([0, 1, 1, 1])


def test_top_k() -> None:
    assert accuracies(LOGITS, CLASSES) == {"top1": 0.5, "top5": 1.0}
    assert top_k_accuracy(LOGITS, CLASSES, 2) == 0.75


def test_the_mean_of_classes_counts_each_class_alike() -> None:
    assert mean_class_accuracy(LOGITS, CLASSES) == pytest.approx((1 + 1 / 3) / 2), "a class without clips is left out"
    assert mean_class_accuracy(np.eye(3)[[0, 0, 0, 0, 0, 0, 0, 0, 0, 2]], np.array([0] * 9 + [1])) == 0.5


@pytest.mark.parametrize(
    ("share", "count", "interval"), [(0.936, 125, (0.879, 0.967)), (0.0, 10, (0.0, 0.278)), (1.0, 10, (0.722, 1.0))]
)
def test_wilson_interval(share: float, count: int, interval: tuple[float, float]) -> None:
    assert wilson_interval(share, count) == pytest.approx(interval, abs=5e-4)


def test_confusion_and_what_is_read_from_it() -> None:
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

    found = averaged([outcome(0.0, 0.0), outcome(9.0, 9 + np.log(3))])
    np.testing.assert_allclose(np.exp(found.logits), [[0.375, 0.625]], rtol=1e-6)
    assert found.seconds == 2.0
    with pytest.raises(ValueError, match="different clips"):
        averaged([outcome(0.0, 1.0), outcome(0.0, 1.0, name="b")])
