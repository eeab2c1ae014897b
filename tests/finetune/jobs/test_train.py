"""Training, on shapes, with a network of 0.1 M parameters."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.recipe import Recipe
from finetune.config.recipes import recipe_of
from finetune.data.dataset import ClipDataset
from finetune.evaluation.metrics import Predictions
from finetune.evaluation.ood import NoDetectorError, OodFigures
from finetune.evaluation.predict import predict
from finetune.hub import finished_run
from finetune.jobs.evaluate import evaluate
from finetune.jobs.train import train
from finetune.report.schema import Report
from finetune.training.arguments import usable_precision
from hmdb.errors import DataError, ModelError
from hmdb.model.loading import LoadedModel
from hmdb.model.ood import OOD_FILE, OodDetector, OodScale
from hmdb.recognizer import Recognizer
from tests.finetune.conftest import TINY, on_test, on_val, training
from tests.support.datasets import write_dataset
from tests.support.runs import Interruption, difference, weights

RECIPE = recipe_of("paper", TINY)


def test_a_run_leaves_a_checkpoint_that_answers(finished: tuple[Path, Report], dataset: Path) -> None:
    output, report = finished
    present = {path.name for path in output.iterdir()}
    assert {"model.safetensors", "config.json", "preprocessor_config.json", "report.json", "train.csv"} <= present
    assert {"README.md", "report.md"} <= present
    assert not {"checkpoints", "clips", ".saving"} & present
    assert report.data.split.train == 28
    prediction = Recognizer.from_pretrained(output)(dataset / "circle" / "clip_00")
    assert set(prediction.labels) == {"circle", "square"}
    assert prediction.clip.spec.sampler == "equidistant"


def test_the_report_has_the_predictions_of_the_checkpoint(finished: tuple[Path, Report], dataset: Path) -> None:
    output, report = finished
    answers = on_test(report).answers
    assert len({answer.clip for answer in answers}) == 4
    recognizer = Recognizer.from_pretrained(output)
    for answer in answers:
        assert recognizer(dataset / answer.clip).label == answer.top[0][0]
    mean = on_test(report).mean_class
    assert mean == sum(row.recall for row in on_test(report).per_class) / 2
    for file in ("report.md", "report.json"):
        assert ("mean-class" if file.endswith("md") else f'"mean_class": {mean}') in (output / file).read_text()


@pytest.mark.parametrize("changes", [{"half": True}, {"precision": "bfloat16"}])
def test_the_figures_are_those_of_the_saved_weights(changes: dict[str, Any], dataset: Path, tmp_path: Path) -> None:
    """The folder is evaluated anew, and its files are all that both evaluations share."""
    recipe = replace(RECIPE, epochs=1, **changes)
    report = train(recipe, DataSource(str(dataset)), tmp_path / "run")
    assert (weights(tmp_path / "run")["classifier.bias"].dtype == torch.float16) == recipe.half
    for split, reported in (("val", on_val(report)), ("test", on_test(report))):
        again = evaluate(str(tmp_path / "run"), DataSource(str(dataset)), tmp_path / split, split=split, batch_size=8)
        assert reported.loss == pytest.approx(again.evaluated[split].loss, abs=2e-8)
        assert reported.answers == again.evaluated[split].answers
    assert abs(on_val(report).loss - training(report).epochs[0].loss) > 2e-7, "in memory the loss was another"


def test_the_test_clips_are_predicted_once(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predicted = []

    def counted(loaded: LoadedModel, clips: ClipDataset, split: str, batch_size: int) -> Predictions:
        predicted.append(split)
        return predict(loaded, clips, split, batch_size)

    monkeypatch.setattr("finetune.jobs.train.predict", counted)
    train(replace(RECIPE, epochs=1), DataSource(str(dataset)), tmp_path / "run")
    assert predicted == ["val", "test"]


def test_tensorboard_has_scalars_clips_and_the_confusion_matrix(finished: tuple[Path, Report]) -> None:
    board = EventAccumulator(str(finished[0] / "runs"))
    board.Reload()
    tags = board.Tags()
    assert {"eval/top1", "eval/top5", "eval/loss"} <= set(tags["scalars"])
    assert {"val/confusion", "clips/circle", "clips/square"} <= set(tags["images"])


@pytest.mark.slow  # last run 2026-11-22
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # by torch's own compiler
def test_compiled_training_learns_the_same(finished: tuple[Path, Report], dataset: Path, tmp_path: Path) -> None:
    report = train(replace(RECIPE, compile=True), DataSource(str(dataset)), tmp_path / "compiled")
    for here, there in zip(training(report).epochs, training(finished[1]).epochs, strict=True):
        assert here.loss == pytest.approx(there.loss, abs=1e-4)
    assert set(Recognizer.from_pretrained(tmp_path / "compiled").labels) == {"circle", "square"}


def test_a_finished_run_is_not_run_again_and_another_not_over_it(finished: tuple[Path, Report], dataset: Path) -> None:
    output, report = finished
    assert train(RECIPE, DataSource(str(dataset)), output, resume=True) == report
    with pytest.raises(DataError, match="is not empty: --resume goes on with it"):
        train(RECIPE, DataSource(str(dataset)), output)
    with pytest.raises(DataError, match=r"other settings \(epochs was 2, now 3\)"):
        train(replace(RECIPE, epochs=3), DataSource(str(dataset)), output, resume=True)
    with pytest.raises(DataError, match=r"other settings \(teacher was '', now 'someone/model'\)"):
        train(
            RECIPE,
            DataSource(str(dataset)),
            output,
            resume=True,
            distillation=DistillationConfig(teacher="someone/model"),
        )


def test_a_folder_of_something_else_is_refused(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(DataError, match="it holds no run"):
        train(RECIPE, DataSource(str(dataset)), tmp_path, resume=True)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        train(RECIPE, DataSource(str(dataset)), tmp_path / "file" / "run")


def test_every_way_of_saving_memory_trains(dataset: Path, tmp_path: Path) -> None:
    recipe = replace(
        RECIPE,
        init="scratch:vivit-tiny",
        batch_size=4,
        accumulation=2,
        precision="bfloat16",
        activation_checkpointing=True,
        label_smoothing=0.1,
        optimizer="adam",
        learning_rate=0.001,
        epochs=1,
    )
    report = train(recipe, DataSource(str(dataset)), tmp_path / "run")
    assert training(report).recipe.precision == "bfloat16"
    assert report.model_type == "vivit"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["clip_spec"]["num_frames"] == 8


@pytest.mark.parametrize("changes", [{"mixup": 0.8}, {"mixup": 0.8, "augment": "clips", "frames": 4}])
def test_mixup_trains(changes: dict[str, Any], finished: tuple[Path, Report], dataset: Path, tmp_path: Path) -> None:
    report = train(replace(RECIPE, **changes), DataSource(str(dataset)), tmp_path / "run")
    for name, value in changes.items():
        assert getattr(training(report).recipe, name) == value
    losses = [row.loss for row in training(report).epochs]
    assert losses != [row.loss for row in training(finished[1]).epochs]
    assert losses[-1] < 0.75, "the val clips are whole"


def test_class_weights_change_the_training(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 12)
    for number in range(8):
        shutil.rmtree(root / "square" / f"clip_{number:02}")
    losses = []
    for weighting in ("none", "balanced"):
        report = train(replace(RECIPE, class_weights=weighting), DataSource(str(root)), tmp_path / weighting)
        losses.append([row.loss for row in training(report).epochs])
    assert losses[0] != losses[1]


def test_a_device_without_the_arithmetic_uses_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [usable_precision(name) for name in ("float32", "bfloat16", "float16")] == ["float32", "bfloat16", "float32"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert [usable_precision(name) for name in ("bfloat16", "float16")] == ["float32", "float16"]


def test_few_val_clips_get_a_detector_or_a_reason(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "finetune")
    detector = OodDetector(
        means=np.zeros((2, 32), np.float32),
        whitening=np.eye(32, dtype=np.float32),
        scale=OodScale(
            confidence="energy",
            confidence_mean=0.0,
            confidence_std=1.0,
            distance_mean=0.0,
            distance_std=1.0,
            threshold=0.0,
        ),
    )
    figures = OodFigures(right=8, right_accepted=7, hidden=8, hidden_accepted=2)
    monkeypatch.setattr("finetune.jobs.fit_ood.fit_ood_detector", lambda *_, **__: (detector, figures))
    report = train(replace(RECIPE, epochs=1), DataSource(str(dataset)), tmp_path / "fitted")
    assert (tmp_path / "fitted" / OOD_FILE).exists()
    assert report.ood == figures
    assert "87.5 % (52.9 to 97.8) of the correct predictions are accepted, and 25.0 % (7.1 to 59.1) of clips" in (
        tmp_path / "fitted" / "README.md"
    ).read_text().replace("\n", " ")

    def refuse(*_: object, **__: object) -> None:
        raise NoDetectorError("No detector of other actions can be fitted: no val clip is predicted correctly.")

    monkeypatch.setattr("finetune.jobs.fit_ood.fit_ood_detector", refuse)
    assert train(replace(RECIPE, epochs=1), DataSource(str(dataset)), tmp_path / "refused").ood is None
    assert not (tmp_path / "refused" / OOD_FILE).exists()
    assert "predicted correctly. So nothing but a static clip shows that a video belongs to none" in caplog.text


def test_a_broken_clip_is_left_out_of_a_run(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 30)
    (root / "circle" / "clip_03" / "0.png").write_bytes(b"no image")
    report = train(replace(RECIPE, epochs=1), DataSource(str(root)), tmp_path / "run")
    split = report.data.split
    assert list(report.data.broken) == ["circle/clip_03"]
    assert split.train + split.val + split.test == 59
    assert "circle/clip_03" in (tmp_path / "run" / "report.md").read_text()
    with pytest.raises(DataError, match="no new network scratch:timesformer-huge; known are timesformer-tiny"):
        train(replace(RECIPE, init="scratch:timesformer-huge"), DataSource(str(root)), tmp_path / "other")


def test_a_batch_that_does_not_divide_is_refused(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(DataError, match="A batch of 8 does not divide among 3 devices"):
        train(Recipe(), DataSource(str(dataset)), tmp_path / "run")


def test_a_seed_reproduces_a_run(dataset: Path, finished: tuple[Path, Report], tmp_path: Path) -> None:
    train(RECIPE, DataSource(str(dataset)), tmp_path / "again")
    assert difference(finished[0], tmp_path / "again") == pytest.approx(0, abs=1e-6)
    assert not np.isnan(difference(finished[0], tmp_path / "again"))


def test_any_number_of_classes(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 10, classes=[f"action_{number:02}" for number in range(51)], num_frames=1)
    report = train(replace(RECIPE, epochs=1, batch_size=64), DataSource(str(root)), tmp_path / "run")
    assert np.array(on_test(report).confusion).shape == (51, 51)
    assert on_val(report).clips >= 50
    calibration = json.loads((tmp_path / "run" / "config.json").read_text())["calibration"]
    told = on_test(report).calibration
    assert told
    assert calibration["temperature"] == told.temperature != 1.0
    assert len(Recognizer.from_pretrained(tmp_path / "run").labels) == 51


def test_more_frames_than_the_clip_has_are_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--train-num-frames must be at most 8, the clip of scratch:timesformer-tiny"):
        train(replace(RECIPE, frames=40, augment="clips"), DataSource(str(dataset)), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_initial_weights_with_nan_are_refused(finished: tuple[Path, Report], dataset: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(finished[0], tmp_path / "broken", ignore=shutil.ignore_patterns("runs")))
    state = weights(broken)
    state["classifier.bias"][0] = torch.nan
    save_file(state, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights of broken are not finite \(for example in classifier.bias\)"):
        train(replace(RECIPE, init=str(broken)), DataSource(str(dataset)), tmp_path / "run")
    with pytest.raises(ModelError, match="1 weights of broken are not finite"):
        finished_run(broken)
    assert not (tmp_path / "run" / "run.json").exists(), "the corrected command finds the folder free"


def test_a_linear_probe_stays_selected_if_training_does_not_improve_it(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, head="linear-probe", learning_rate=1e-9, epochs=2)
    report = train(recipe, DataSource(str(dataset)), tmp_path / "run")
    assert [row.epoch for row in training(report).epochs] == [0, 1, 2]
    assert training(report).best_epoch == 0
    assert on_val(report).top1 == training(report).epochs[0].top1 > 0.5
    with monkeypatch.context() as patch:
        Interruption(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt, match="The best checkpoint so far"):
            train(recipe, DataSource(str(dataset)), tmp_path / "cut")
    cut = train(recipe, DataSource(str(dataset)), tmp_path / "cut", resume=True)
    assert training(cut).best_epoch == 0
    assert difference(tmp_path / "run", tmp_path / "cut") < 1e-6


def test_frozen_blocks_stay_and_the_rest_learns(finished: tuple[Path, Report], dataset: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, init=str(finished[0]), freeze=1, layer_decay=0.5, epochs=1)
    train(recipe, DataSource(str(dataset)), tmp_path / "run")
    before, after = weights(finished[0]), weights(tmp_path / "run")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    kept = {name for name in before if "embeddings" in name or ".layer.0." in name}
    assert kept
    assert not kept & changed
    assert {name for name in before if ".layer.1." in name} <= changed


@pytest.mark.parametrize(("top1", "best"), [((0.5, 0.625, 0.625, 0.75), 3), ((0.5, 0.625, 0.5, 0.625), 0)])
def test_a_linear_probe_stays_selected_unless_an_epoch_is_clearly_better(
    top1: tuple[float, ...], best: int, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 8 val clips the standard error of 0.5 is 0.18."""
    found = itertools.chain(top1, itertools.repeat(1.0))
    monkeypatch.setattr("finetune.training.callbacks.top_accuracies", lambda *_: {"top1": next(found), "top5": 1.0})
    report = train(replace(RECIPE, head="linear-probe", epochs=3), DataSource(str(dataset)), tmp_path / "run")
    assert [row.top1 for row in training(report).epochs] == list(top1)
    assert training(report).best_epoch == best
