"""Trainer callbacks and metrics: TensorBoard and other loggers, timing, progress, EMA."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, TensorBoardCallback
from transformers.trainer_utils import EvalPrediction

from finetune.data.dataset import ClipDataset
from finetune.evaluation.calibrate import negative_log_likelihood
from finetune.evaluation.figures import confusion_matrix
from finetune.evaluation.metrics import confusion, top_accuracies
from hmdb.errors import DataError
from hmdb.figures import sheet

SHOWN_CLIPS = 4
PROGRESS_SECONDS = 60  # between two log lines within an epoch

log = logging.getLogger(__name__)


def check_reporters(names: Collection[str]) -> None:
    """Checks that the packages of the loggers are installed.

    Raises:
        DataError: one is not.
    """
    for name in names:
        if find_spec(name) is None:
            raise DataError(f"--report-to {name} needs a package that is not installed: pip install {name}")


class ComputeMetrics:
    """The metrics of an evaluation.

    Attributes:
        confusion: the confusion matrix of the latest evaluation.
    """

    def __init__(self) -> None:
        self.confusion: np.ndarray | None = None

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Computes top-1, top-5 and cross-entropy; the Trainer's own loss is a mean of batches, not of clips.

        Raises:
            FloatingPointError: a logit is not finite.
        """
        logits, classes = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        if not np.isfinite(logits).all():
            raise FloatingPointError("The logits of the val clips are not finite")
        self.confusion = confusion(logits, classes)
        return {**top_accuracies(logits, classes), "cross_entropy": negative_log_likelihood(logits, classes)}


class TensorBoardImages(TensorBoardCallback):
    """Logs sample clips and the confusion matrix of each epoch in addition to the Trainer's scalars."""

    def __init__(self, folder: Path, clips: ClipDataset, classes: tuple[str, ...], metrics: ComputeMetrics) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._folder = folder
        self._clips = clips
        self._classes = classes
        self._metrics = metrics

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.is_world_process_zero:
            # a resumed run writes its last epoch again; the rows that a killed one left of it are hidden
            self.tb_writer = SummaryWriter(str(self._folder), purge_step=state.global_step)
        super().on_train_begin(args, state, control, **rest)  # type: ignore[no-untyped-call]
        if self.tb_writer:
            for index in shown_clips(len(self._clips)):
                name = f"clips/{self._clips.samples[index].label}"
                self.tb_writer.add_image(name, sheet(self._clips.frames(index)), dataformats="HWC")

    def close(self) -> None:
        """Closes the file of a run that fails; the Trainer does so at the end of a run."""
        if self.tb_writer:
            self.tb_writer.close()

    def on_evaluate(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if self.tb_writer and self._metrics.confusion is not None:
            figure = confusion_matrix(self._metrics.confusion, self._classes)
            self.tb_writer.add_figure("val/confusion", figure, state.global_step)


def shown_clips(count: int) -> list[int]:
    """The indices of at most SHOWN_CLIPS clips, evenly spaced.

    >>> shown_clips(28), shown_clips(7), shown_clips(2)
    ([0, 7, 14, 21], [0, 1, 3, 5], [0, 1])
    """
    shown = min(SHOWN_CLIPS, count)
    return [index * count // shown for index in range(shown)]


def reporters(
    names: Collection[str], folder: Path, clips: ClipDataset, classes: tuple[str, ...], metrics: ComputeMetrics
) -> list[TrainerCallback]:
    """Builds the callbacks of the loggers: transformers' own, and for TensorBoard `TensorBoardImages`.

    Args:
        names: of "tensorboard", "trackio" and "wandb".
        folder: for TensorBoard's files.
        clips: the training clips.
        metrics: of the Trainer.
    """
    return [
        TensorBoardImages(folder, clips, classes, metrics) if name == "tensorboard" else INTEGRATION_TO_CALLBACK[name]()
        for name in names
    ]


class Stopwatch(TrainerCallback):
    """Adds the duration of each epoch to the log history, which checkpoints carry.

    A row has the seconds in training steps, without evaluation and saving, and those since the row before. It starts
    when it is made.
    """

    def __init__(self) -> None:
        self._last_row = self._epoch_began = time.monotonic()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._epoch_began = time.monotonic()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        now = time.monotonic()
        durations = {"training_seconds": now - self._epoch_began, "seconds": now - self._last_row}
        state.log_history.append({"epoch": state.epoch, "step": state.global_step, **durations})
        self._last_row = now

    def seconds(self, history: Sequence[Mapping[str, Any]]) -> float:
        """The duration of the run up to now; of a resumed run without the time after the last checkpoint before."""
        before: float = sum(row.get("seconds", 0.0) for row in history)
        return before + time.monotonic() - self._last_row


def clips_per_second(history: Sequence[Mapping[str, Any]], clips: int) -> float:
    """The training speed, of a log history with `clips` clips in each epoch."""
    seconds: list[float] = [row["training_seconds"] for row in history if "training_seconds" in row]
    return len(seconds) * clips / max(sum(seconds), 1e-9)


class LogProgress(TrainerCallback):
    """Logs the figures of each epoch and the time left, and within long epochs a line a minute.

    It takes the place of progress bars where there is no terminal.
    """

    def __init__(self) -> None:
        self._began = self._last_line = 0.0
        self._first = 0
        self._loss: float | None = None

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        self._began = self._last_line = time.monotonic()
        self._first = state.global_step

    def on_log(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        self._loss = rest["logs"].get("loss", self._loss)

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        if time.monotonic() - self._last_line >= PROGRESS_SECONDS:
            self._log(state, f"step {state.global_step} of {state.max_steps}")

    def on_evaluate(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        metrics = rest["metrics"]
        figures = f"val top-1 {metrics['eval_top1']:.1%}, val loss {metrics['eval_cross_entropy']:.3f}"
        self._log(state, f"epoch {state.epoch or 0:g} of {args.num_train_epochs:g}: {figures}")

    def _log(self, state: Any, line: str) -> None:
        self._last_line = time.monotonic()
        done = state.global_step - self._first
        loss = "" if self._loss is None else f", loss {self._loss:.3f}"
        left = ""
        if done and state.global_step < state.max_steps:
            seconds = (self._last_line - self._began) / done * (state.max_steps - state.global_step)
            left = f"; at most {timedelta(seconds=round(seconds))} left"
        if state.is_world_process_zero:
            log.info("%s%s%s", line, loss, left)


class EmaCallback(TrainerCallback):
    """Updates the exponential moving average of the weights after each step."""

    def __init__(self, average: AveragedModel) -> None:
        self._average = average

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        self._average.update_parameters(rest["model"])
