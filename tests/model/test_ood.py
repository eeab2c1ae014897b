import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune.evaluation.ood import fit_ood_detector
from hmdb.errors import ModelError
from hmdb.model.loading import load
from hmdb.model.ood import CONFIDENCES, OOD_FILE, OOD_KEY, OodDetector, OodScale
from hmdb.recognizer import Recognizer
from tests.support.checkpoints import write_checkpoint

CLASSES, WIDTH = 3, 8
FORMER = {"energy_mean": 3.2, "energy_std": 0.1, "distance_mean": 30.0, "distance_std": 5.0, "threshold": -2.0}


def clips(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features around one direction for each class, logits that follow them, and the classes."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % CLASSES
    features = (4 * np.eye(CLASSES, WIDTH)[classes] + rng.normal(0, 0.5, (count, WIDTH))).astype(np.float32)
    return features, (2 * features[:, :CLASSES]).astype(np.float32), classes


def fitted(keep: float = 0.9, seed: int = 0) -> OodDetector:
    return fit_ood_detector(clips(seed), clips(seed + 1), accept_rate=keep)[0]


@pytest.mark.parametrize("keep", [0.9, 0.5])
def test_threshold_keeps_the_given_share_of_correct_predictions(keep: float) -> None:
    features, logits, _ = clips(100, 900)  # all correct
    kept = [(fitted(keep, 2 * seed).score(features, logits) >= 0).mean() for seed in range(10)]
    assert np.mean(kept) == pytest.approx(keep, abs=0.04)


def test_distance_and_energy_detect_ood_clips() -> None:
    known = fitted()
    features, logits, _ = clips(2)
    far = np.full((1, WIDTH), -3, np.float32)  # sure of itself, and like nothing it was trained on
    assert known.score(far, logits[:1])[0] < 0
    assert known.score(features[:1], np.zeros((1, CLASSES), np.float32))[0] < 0
    assert (known.score(features, logits) >= 0).mean() > 0.6


def knowing(folder: Path) -> Path:
    """A tiny checkpoint with statistics that suit its size."""
    checkpoint = write_checkpoint(folder, "scratch:timesformer-tiny")
    rng = np.random.default_rng(0)
    scale = OodScale.from_dict(FORMER)
    means, whitening = rng.normal(size=(25, 32)).astype(np.float32), np.eye(32, dtype=np.float32)
    add(checkpoint, **{OOD_KEY: OodDetector(means=means, whitening=whitening, scale=scale).save(checkpoint)})
    return checkpoint


def test_statistics_of_former_checkpoints_score_to_the_bit_as_before() -> None:
    """By hand, the formula of the first version."""
    features, logits, _ = clips(2)
    detector = replace(fitted(), scale=OodScale.from_dict(FORMER))
    white = features / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    white = white @ detector.whitening.astype(np.float64).T
    distance = (np.square(white[:, None] - detector.means[None]).sum(axis=2).min(axis=1) - 30.0) / 5.0
    energy = (np.logaddexp.reduce(logits.astype(np.float64), axis=1) - 3.2) / 0.1
    np.testing.assert_array_equal(detector.score(features, logits), (energy - distance - -2.0).astype(np.float32))


def test_the_log_odds_are_those_of_the_largest_probability() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    np.testing.assert_allclose(CONFIDENCES["log-odds"](np.log(probabilities) + 3), np.log([0.7 / 0.3, 1.0]), atol=1e-12)


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
    for wrong in ({"confidence_std": 0.0}, {"threshold": 1e300}, {"distance_mean": True}):
        add(checkpoint, **{OOD_KEY: values | wrong})
        with pytest.raises(ModelError, match="must be a number"):
            load(checkpoint, device="cpu")
    for named in ("likelihood", 1.0):
        add(checkpoint, **{OOD_KEY: values | {"confidence": named}})
        with pytest.raises(ModelError, match=r"confidence of known in .* must be one of log-odds, energy"):
            load(checkpoint, device="cpu")
