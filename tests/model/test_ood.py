import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.evaluation.ood import fit_ood_detector
from hmdb.errors import ModelError
from hmdb.model.loading import load
from hmdb.model.ood import OOD_FILE, OOD_KEY, OodDetector
from hmdb.recognizer import Recognizer
from tests.support.checkpoints import write_checkpoint

CLASSES, WIDTH = 3, 8


def clips(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features around one direction for each class, logits that follow them, and the classes."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % CLASSES
    features = (4 * np.eye(CLASSES, WIDTH)[classes] + rng.normal(0, 0.5, (count, WIDTH))).astype(np.float32)
    return features, (2 * features[:, :CLASSES]).astype(np.float32), classes


def fitted(keep: float = 0.9) -> OodDetector:
    features, _, classes = clips(0)
    known = fit_ood_detector((features, classes), clips(1), accept_rate=keep)
    assert known is not None
    return known


@pytest.mark.parametrize("keep", [0.9, 0.5])
def test_threshold_keeps_the_given_share_of_correct_predictions(keep: float) -> None:
    features, logits, classes = clips(1)
    right = logits.argmax(axis=1) == classes
    kept = fitted(keep).score(features, logits)[right] >= 0
    assert kept.mean() == pytest.approx(keep, abs=0.04)


def test_distance_and_energy_detect_ood_clips() -> None:
    known = fitted()
    features, logits, _ = clips(2)
    far = np.full((1, WIDTH), -3, np.float32)  # sure of itself, and like nothing it was trained on
    assert known.score(far, logits[:1])[0] < 0
    assert known.score(features[:1], np.zeros((1, CLASSES), np.float32))[0] < 0
    assert (known.score(features, logits) >= 0).mean() > 0.6


def test_no_correct_predictions_fit_no_detector() -> None:
    features, logits, classes = clips(1)
    assert fit_ood_detector((features, classes), (features, logits, (logits.argmax(axis=1) + 1) % CLASSES)) is None
    assert fit_ood_detector((features[:1], classes[:1]), (features, logits, classes)) is None


def knowing(folder: Path) -> Path:
    """A tiny checkpoint with statistics that suit its size."""
    checkpoint = write_checkpoint(folder, "scratch:timesformer-tiny")
    rng = np.random.default_rng(0)
    features, classes = rng.normal(size=(100, 32)).astype(np.float32), np.arange(100) % 25
    known = fit_ood_detector((features, classes), (features, np.eye(25, dtype=np.float32)[classes], classes))
    assert known is not None
    add(checkpoint, **{OOD_KEY: known.save(checkpoint)})
    return checkpoint


def add(checkpoint: Path, **keys: object) -> None:
    path = checkpoint / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_features_decide_with_a_detector(tmp_path: Path, video: Path) -> None:
    checkpoint = knowing(tmp_path)
    recognizer = Recognizer.from_pretrained(checkpoint, device="cpu")
    prediction = recognizer(video)
    assert prediction.in_distribution_score is not None
    assert prediction.is_known == (prediction.in_distribution_score >= 0)
    assert prediction.ood_method == recognizer.loaded.to_dict()["tells_strangers_by"] == "features"
    config = json.loads((checkpoint / "config.json").read_text())
    for threshold, known in ((-1e5, True), (1e5, False)):
        add(checkpoint, **{OOD_KEY: config[OOD_KEY] | {"threshold": threshold}})
        recognizer = Recognizer.from_pretrained(checkpoint, device="cpu")
        assert recognizer(video).is_known is known
        assert {answer.label is not None for answer in recognizer.timeline(video).answers} == {known}


def test_probability_decides_without_a_detector(tmp_path: Path, video: Path) -> None:
    recognizer = Recognizer.from_pretrained(write_checkpoint(tmp_path, "scratch:timesformer-tiny"), device="cpu")
    assert recognizer.loaded.to_dict()["tells_strangers_by"] == "probability"
    prediction = recognizer(video)
    assert prediction.in_distribution_score is None
    assert prediction.to_dict()["decided_by"] == "probability"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": np.zeros((24, 32), np.float32)}, r"means in known.safetensors of .* must be float32 \(25, 32\)"),
        ({"means": np.full((25, 32), np.nan, np.float32)}, "some are not finite"),
        ({"whitening": np.zeros((32, 32), np.float16)}, "whitening .* must be float32"),
    ],
)
def test_mismatched_statistics_are_refused(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    checkpoint = knowing(tmp_path)
    save_file(load_file(checkpoint / OOD_FILE) | change, checkpoint / OOD_FILE)
    with pytest.raises(ModelError, match=message):
        load(checkpoint, device="cpu")


def test_incomplete_detector_is_refused(tmp_path: Path) -> None:
    checkpoint = knowing(tmp_path)
    (checkpoint / OOD_FILE).rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"known\.safetensors is missing"):
        load(checkpoint, device="cpu")
    (checkpoint / OOD_FILE).write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="cannot be read"):
        load(checkpoint, device="cpu")
    shutil.move(tmp_path / "elsewhere", checkpoint / OOD_FILE)
    for wrong in (None, {"threshold": 1.0}, {"energy_mean": "high"}):
        add(checkpoint, **{OOD_KEY: wrong})
        with pytest.raises(ModelError, match="not supported by this version"):
            load(checkpoint, device="cpu")


def test_out_of_range_values_are_refused(tmp_path: Path) -> None:
    checkpoint = knowing(tmp_path)
    values = json.loads((checkpoint / "config.json").read_text())[OOD_KEY]
    for wrong in ({"energy_std": 0.0}, {"threshold": 1e300}, {"distance_mean": True}):
        add(checkpoint, **{OOD_KEY: values | wrong})
        with pytest.raises(ModelError, match="must be a number"):
            load(checkpoint, device="cpu")
