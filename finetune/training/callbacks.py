"""What is watched while a run goes on: TensorBoard, and the clock."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_utils import EvalPrediction

from finetune.data.dataset import ClipDataset
from finetune.evaluation.calibrate import negative_log_likelihood
from finetune.evaluation.figures import confusion_matrix
from finetune.evaluation.metrics import accuracies, confusion
from finetune.run_dir import CHECKPOINT_PREFIX
from hmdb.figures import sheet
from hmdb.model.preprocess import PixelSpec

SHOWN_CLIPS = 4
LINE_SECONDS = 60

log = logging.getLogger(__name__)


class ComputeMetrics:
    """The figures of an evaluation, as the Trainer asks for them, whose confusion matrix is kept to be drawn."""

    def __init__(self) -> None:
        self.confusion: np.ndarray | None = None

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """The cross-entropy is that of each clip once; the Trainer's own loss is a mean of batches.

        Raises:
            FloatingPointError: an answer is not finite.
        """
        logits, classes = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        if not np.isfinite(logits).all():
            raise FloatingPointError("Answers on the val clips are not finite")
        self.confusion = confusion(logits, classes)
        return {**accuracies(logits, classes), "cross_entropy": negative_log_likelihood(logits, classes)}


class TensorBoardImages(TensorBoardCallback):
    """The Trainer's scalars, and beside them sample clips and each epoch's confusion matrix."""

    def __init__(self, folder: Path, clips: ClipDataset, classes: tuple[str, ...], measures: ComputeMetrics) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._folder = folder
        self._clips = clips
        self._classes = classes
        self._measures = measures

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.is_world_process_zero:
            # a resumed run writes its last epoch again; what a killed one left of it is hidden
            self.tb_writer = SummaryWriter(str(self._folder), purge_step=state.global_step)
        super().on_train_begin(args, state, control, **rest)  # type: ignore[no-untyped-call]
        if self.tb_writer:
            for index in range(0, len(self._clips), max(len(self._clips) // SHOWN_CLIPS, 1)):
                name = f"clips/{self._clips.samples[index].label}"
                self.tb_writer.add_image(name, sheet(self._clips.frames(index)), dataformats="HWC")

    def close(self) -> None:
        """Ends the file of a run that fails, which the Trainer does for those that end."""
        if self.tb_writer:
            self.tb_writer.close()

    def on_evaluate(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if self.tb_writer and self._measures.confusion is not None:
            figure = confusion_matrix(self._measures.confusion, self._classes)
            self.tb_writer.add_figure("val/confusion", figure, state.global_step)


class Stopwatch(TrainerCallback):
    """Writes into the log of a run, which its checkpoints carry, what each epoch took.

    A row has the seconds in training steps, evaluation and saving left out, and those since the row before.

    Args:
        began: when the run did, or went on, by `time.monotonic`.
    """

    def __init__(self, began: float) -> None:
        self._told = self._epoch_began = began

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._epoch_began = time.monotonic()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        now = time.monotonic()
        taken = {"training_seconds": now - self._epoch_began, "seconds": now - self._told}
        state.log_history.append({"epoch": state.epoch, "step": state.global_step, **taken})
        self._told = now

    def seconds(self, history: Sequence[Mapping[str, Any]]) -> float:
        """That the run took up to now; of one that was cut off without those after its last checkpoint."""
        before: float = sum(row.get("seconds", 0.0) for row in history)
        return before + time.monotonic() - self._told


def clips_per_second(history: Sequence[Mapping[str, Any]], clips: int) -> float:
    """How many clips were trained on in a second, `clips` in each epoch of the log."""
    taken: list[float] = [row["training_seconds"] for row in history if "training_seconds" in row]
    return len(taken) * clips / max(sum(taken), 1e-9)


class LogProgress(TrainerCallback):
    """Lines for a log: each epoch's figures and the time left; within long epochs a line a minute. For no terminal."""

    def __init__(self) -> None:
        self._began = self._told = 0.0
        self._first = 0
        self._loss: float | None = None

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        self._began = self._told = time.monotonic()
        self._first = state.global_step

    def on_log(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        self._loss = rest["logs"].get("loss", self._loss)

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        if time.monotonic() - self._told >= LINE_SECONDS:
            self._tell(state, f"step {state.global_step} of {state.max_steps}")

    def on_evaluate(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        if "eval_top1" in (found := rest["metrics"]):
            figures = f"val top-1 {found['eval_top1']:.1%}, val loss {found['eval_cross_entropy']:.3f}"
            self._tell(state, f"epoch {state.epoch or 0:g} of {args.num_train_epochs:g}: {figures}")

    def _tell(self, state: Any, what: str) -> None:
        self._told = time.monotonic()
        done = state.global_step - self._first
        loss = "" if self._loss is None else f", loss {self._loss:.3f}"
        left = ""
        if done and state.global_step < state.max_steps:
            seconds = (self._told - self._began) / done * (state.max_steps - state.global_step)
            left = f"; at most {timedelta(seconds=round(seconds))} left"
        if state.is_world_process_zero:
            log.info("%s%s%s", what, loss, left)


class EmaCallback(TrainerCallback):
    """Adds the weights of each step to their exponential moving average."""

    def __init__(self, average: AveragedModel) -> None:
        self._average = average

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        self._average.update_parameters(rest["model"])


class SaveProcessor(TrainerCallback):
    """Makes each of the Trainer's checkpoints one that hmdb can load."""

    def __init__(self, pixel_spec: PixelSpec) -> None:
        self._pixel_spec = pixel_spec

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        if state.is_world_process_zero:
            self._pixel_spec.save(Path(str(args.output_dir)) / f"{CHECKPOINT_PREFIX}{state.global_step}")


class EarlyStopping(TrainerCallback):
    """Early stopping that is told by the log alone, so that a resumed run stops where it would have.

    transformers' EarlyStoppingCallback trains a run that was cut off after its last epoch for one more.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_evaluate(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        control.should_training_stop = out_of_patience(state.log_history, self._epochs)


def out_of_patience(history: Sequence[Mapping[str, Any]], epochs: int) -> bool:
    """Whether the last `epochs` evaluations brought no better val top-1; never where `epochs` is 0."""
    found = [row["eval_top1"] for row in history if "eval_top1" in row]
    return bool(epochs and found) and len(found) - 1 - found.index(max(found)) >= epochs
