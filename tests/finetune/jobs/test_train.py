"""Training, on shapes, with a network of 0.1 M parameters."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.recipe import Recipe
from finetune.config.recipes import recipe_of
from finetune.data.dataset import ClipDataset
from finetune.evaluation.metrics import Predictions
from finetune.evaluation.predict import predict
from finetune.hub import finished_run
from finetune.jobs.evaluate import evaluate
from finetune.jobs.train import train
from finetune.report.schema import Report
from finetune.training.arguments import usable_precision
from finetune.training.trainer import ClipTrainer
from hmdb.errors import DataError, ModelError
from hmdb.model.loading import LoadedModel
from hmdb.model.ood import OOD_FILE
from hmdb.recognizer import Recognizer
from tests.finetune.conftest import TINY, on_test, on_val, training
from tests.support.datasets import shape_clip, write_clip, write_dataset

ROOT = Path(__file__).parents[3]
RECIPE = recipe_of("paper", TINY)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def difference(one: Path, other: Path) -> float:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


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


# An epoch is 4 steps, after each of which there is a checkpoint.
KILLED = """
import os, signal
from finetune.cli import main
from finetune.training.callbacks import Stopwatch
def on_step_end(self, args, state, control, **rest):
    if state.global_step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
Stopwatch.on_step_end = on_step_end
main()
"""


def test_a_killed_run_resumes_to_the_weights_of_one_that_was_not(dataset: Path, tmp_path: Path) -> None:
    """Augmentation, random sampling, momentum and the schedule all have to go on where they were."""
    settings = {"sampler": "random", "augment": "clips", "schedule": "cosine", "epochs": 5, "init": TINY["init"]}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-c", KILLED, "--data", str(dataset), "--output", str(killed), *options]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [path.name for path in (killed / "checkpoints").iterdir()] == ["checkpoint-4"]
    recipe = recipe_of("paper", settings)
    finished = train(recipe, DataSource(str(dataset)), whole)
    killed = killed.rename(tmp_path / "moved")
    (killed / "checkpoints" / "checkpoint-999").mkdir()  # half of one, as a kill while saving leaves it
    report = train(recipe, DataSource(str(dataset)), killed, resume=True)
    assert difference(whole, killed) < 1e-4
    rows = [training(found).epochs for found in (finished, report)]
    assert [row.top1 for row in rows[0]] == [row.top1 for row in rows[1]]
    assert len(training(report).epochs) == 5


class Interruption:
    """Calls something in the Trainer at a step."""

    def __init__(self, patch: pytest.MonkeyPatch, step: int, error: BaseException) -> None:
        original = ClipTrainer.compute_loss
        steps = iter(range(10**6))

        def compute_loss(trainer: ClipTrainer, model: torch.nn.Module, *args: Any, **options: Any) -> Any:
            if model.training and next(steps) == step:
                raise error
            return original(trainer, model, *args, **options)

        patch.setattr(ClipTrainer, "compute_loss", compute_loss)


def test_ctrl_c_keeps_the_best_checkpoint(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        Interruption(patch, 6, KeyboardInterrupt())  # four steps an epoch
        with pytest.raises(KeyboardInterrupt, match=r"Stopped. The best checkpoint so far .* Go on with --resume"):
            train(RECIPE, DataSource(str(dataset)), tmp_path / "run")
    recognizer = Recognizer.from_pretrained(tmp_path / "run")
    assert recognizer(dataset / "circle" / "clip_00").clip.spec.sampler == "equidistant"
    assert len(training(train(RECIPE, DataSource(str(dataset)), tmp_path / "run", resume=True)).epochs) == 2


def test_a_resumed_run_decodes_no_clip_again(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "more" / "circle" / "new", shape_clip(0, 99))
    source = DataSource(str(dataset), more=str(tmp_path / "more"))
    with monkeypatch.context() as patch:
        Interruption(patch, 6, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train(RECIPE, source, tmp_path / "run")
    monkeypatch.setattr("finetune.data.dataset.read_clip", lambda *_: pytest.fail("decoded again"))
    assert train(RECIPE, source, tmp_path / "run", resume=True).data.more == 1


def test_a_run_stopped_in_its_first_epoch_begins_again(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Interruption(patch, 1, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt, match="No epoch was complete"):
            train(RECIPE, DataSource(str(dataset)), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    assert len(training(train(RECIPE, DataSource(str(dataset)), tmp_path / "run", resume=True)).epochs) == 2


@pytest.mark.parametrize("init", ["scratch:timesformer-tiny", "scratch:vivit-tiny"])
def test_the_best_epoch_is_saved_and_a_resumed_run_knows_it(
    init: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, init=init, learning_rate=0.002, epochs=4)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    report = train(recipe, DataSource(str(dataset)), whole)
    best = next(row for row in training(report).epochs if row.epoch == training(report).best_epoch)
    assert training(report).best_epoch < 4, "the last epoch must not be the best, or this tests nothing"
    assert abs(training(report).epochs[-1].loss - best.loss) > 1e-4
    assert on_val(report).loss == pytest.approx(best.loss, abs=1e-5)
    assert on_val(report).top1 == best.top1
    with monkeypatch.context() as patch:
        Interruption(patch, 10, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train(recipe, DataSource(str(dataset)), resumed)
    train(recipe, DataSource(str(dataset)), resumed, resume=True)
    assert difference(whole, resumed) < 1e-4


def test_a_full_disk_leaves_the_best_checkpoint_whole(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, saves = torch.save, iter(range(10**6))

    def full(value: Any, path: Any, *args: Any, **options: Any) -> None:
        if next(saves) >= 4:  # the second checkpoint: its weights are written, its optimizer is not
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        original(value, path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(
            DataError, match=r"The disk is full. The best checkpoint so far is complete, in .*checkpoint-4\."
        ):
            train(RECIPE, DataSource(str(dataset)), tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["checkpoint-4"]
    assert Recognizer.from_pretrained(tmp_path / "run" / "checkpoints" / "checkpoint-4").labels == ("circle", "square")
    assert training(train(RECIPE, DataSource(str(dataset)), tmp_path / "run", resume=True)).epochs


def test_a_full_disk_at_the_end_loses_no_epoch(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("finetune.jobs.train.save_checkpoint", full)
        with pytest.raises(DataError, match="The disk is full"):
            train(RECIPE, DataSource(str(dataset)), tmp_path / "run")
    monkeypatch.setattr(ClipTrainer, "training_step", full)
    assert len(training(train(RECIPE, DataSource(str(dataset)), tmp_path / "run", resume=True)).epochs) == 2


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_advises_what_to_lower(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    Interruption(monkeypatch, 0, error)
    with pytest.raises(DataError, match=r"Out of memory. Lower --batch-size .* --activation-checkpointing"):
        train(RECIPE, DataSource(str(dataset)), tmp_path / "run")


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
    for weights in ("none", "balanced"):
        report = train(replace(RECIPE, class_weights=weights), DataSource(str(root)), tmp_path / weights)
        losses.append([row.loss for row in training(report).epochs])
    assert losses[0] != losses[1]


def test_a_device_without_the_arithmetic_uses_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [usable_precision(name) for name in ("float32", "bfloat16", "float16")] == ["float32", "bfloat16", "float32"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert [usable_precision(name) for name in ("bfloat16", "float16")] == ["float32", "float16"]


def test_the_log_says_why_there_is_no_ood_detector(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "finetune")
    monkeypatch.setattr("finetune.jobs.train.MIN_CALIBRATION", 8)
    train(replace(RECIPE, epochs=1), DataSource(str(dataset)), tmp_path / "right")
    assert (tmp_path / "right" / OOD_FILE).exists()
    assert OOD_FILE not in caplog.text
    monkeypatch.setattr("finetune.jobs.fit_ood.fit_ood_detector", lambda *_, **__: None)
    train(replace(RECIPE, epochs=1), DataSource(str(dataset)), tmp_path / "wrong")
    assert not (tmp_path / "wrong" / OOD_FILE).exists()
    assert f"{OOD_FILE} cannot be fitted: no val clip is predicted correctly, or a class has no training" in caplog.text


def test_training_stops_early(dataset: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, learning_rate=1e-9, epochs=6, patience=1)
    report = train(recipe, DataSource(str(dataset)), tmp_path / "run")
    assert len(training(report).epochs) == 2
    assert training(report).best_epoch == 1


def test_a_resumed_run_stops_early_where_the_whole_one_would(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, learning_rate=1e-9, epochs=6, patience=2)
    with monkeypatch.context() as patch:
        Interruption(patch, 9, KeyboardInterrupt())  # in the third epoch, after one without improvement
        with pytest.raises(KeyboardInterrupt):
            train(recipe, DataSource(str(dataset)), tmp_path / "run")
    report = train(recipe, DataSource(str(dataset)), tmp_path / "run", resume=True)
    assert len(training(report).epochs) == 3
    assert training(report).best_epoch == 1


def test_a_run_interrupted_after_its_last_epoch_does_not_train_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, learning_rate=1e-9, epochs=3, patience=0)
    with monkeypatch.context() as patch:
        patch.setattr("finetune.jobs.train.predict", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt, match="The best checkpoint so far"):
            train(recipe, DataSource(str(dataset)), tmp_path / "run")
    (state,) = (tmp_path / "run").glob("checkpoints/checkpoint-12/trainer_state.json")
    took = [row for row in json.loads(state.read_text())["log_history"] if "seconds" in row]
    readings: list[float] = []

    def monotonic() -> float:
        """A second later at each look, on a day on which the first part is long over."""
        readings.append(1e6 + len(readings))
        return readings[-1]

    monkeypatch.setattr("finetune.training.callbacks.time", SimpleNamespace(monotonic=monotonic))
    report = train(recipe, DataSource(str(dataset)), tmp_path / "run", resume=True)
    assert len(training(report).epochs) == 3
    assert training(report).best_epoch == 1
    assert len(took) == 3
    assert training(report).clips_per_second == pytest.approx(3 * 28 / sum(row["training_seconds"] for row in took))
    before = sum(row["seconds"] for row in took)
    assert len(readings) > 1
    assert report.seconds == round(before + readings[-1] - readings[0], 1), "both parts, not what was between them"


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


@pytest.mark.parametrize("changes", [{"learning_rate": 1e30}, {"learning_rate": 1e30, "batch_size": 32, "epochs": 1}])
def test_training_that_diverges_stops_and_leaves_no_checkpoint(
    changes: dict[str, Any], dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"(at step \d+|not finite): training diverged .* Lower --learning.*0\.1\.$"):
        train(replace(RECIPE, **changes), DataSource(str(dataset)), tmp_path / "run")
    assert not list((tmp_path / "run").iterdir()), "the corrected command finds the folder free"


@pytest.mark.parametrize(
    ("error", "advice"),
    [(torch.OutOfMemoryError("CUDA out of memory"), "Lower --batch-size"), (None, "Lower --learning-rate")],
)
def test_other_settings_than_a_checkpoints_need_a_new_folder(
    error: Exception | None, advice: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fitted head is a checkpoint before the first step."""
    recipe = replace(RECIPE, head="linear-probe", learning_rate=0.05 if error else 1e30)
    with monkeypatch.context() as patch:
        if error:
            Interruption(patch, 1, error)
        with pytest.raises(DataError, match=rf"{advice}.* has these settings: give a new --output folder as well\.$"):
            train(recipe, DataSource(str(dataset)), tmp_path / "run")
    with pytest.raises(DataError, match="Resume it with its own, or give a new --output folder"):
        train(replace(recipe, learning_rate=1e-3), DataSource(str(dataset)), tmp_path / "run", resume=True)


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
