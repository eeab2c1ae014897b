"""Runs that are interrupted, diverge, stop early or run out of memory or disk, and runs that resume."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from finetune.config.data import DataSource
from finetune.config.recipes import recipe_of
from finetune.jobs.train import train
from finetune.training.trainer import ClipTrainer
from hmdb.errors import DataError
from hmdb.recognizer import Recognizer
from tests.finetune.conftest import TINY, on_val, training
from tests.support.datasets import shape_clip, write_clip
from tests.support.paths import ROOT
from tests.support.runs import Interruption, difference

RECIPE = recipe_of("paper", TINY)


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
