"""What is watched while a run goes on: TensorBoard, and the clock."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_utils import EvalPrediction

from finetune.dataset import ClipDataset
from finetune.metrics import accuracies, confusion
from hmdb.figures import confusion_matrix, sheet
from hmdb.model.calibration import negative_log_likelihood

SHOWN_CLIPS = 4


class Board(TensorBoardCallback):
    """The Trainer's scalars, and beside them sample clips and each epoch's confusion matrix."""

    def __init__(self, folder: Path, clips: ClipDataset, classes: tuple[str, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._folder = folder
        self._clips = clips
        self._classes = classes
        self._confusion: np.ndarray | None = None

    def measure(self, prediction: EvalPrediction) -> dict[str, float]:
        """Figures of an evaluation, whose confusion matrix is kept to be drawn.

        The cross-entropy is that of each clip once; the Trainer's own loss is a mean of batches.
        """
        logits, classes = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        self._confusion = confusion(logits, classes)
        return {**accuracies(logits, classes), "cross_entropy": negative_log_likelihood(logits, classes)}

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.is_world_process_zero:
            # a resumed run writes its last epoch again; what a killed one left of it is hidden
            self.tb_writer = SummaryWriter(str(self._folder), purge_step=state.global_step)
        super().on_train_begin(args, state, control, **rest)  # type: ignore[no-untyped-call]
        if self.tb_writer:
            for index in range(0, len(self._clips), max(len(self._clips) // SHOWN_CLIPS, 1)):
                name = f"clips/{self._clips.samples[index].label}"
                self.tb_writer.add_image(name, sheet(self._clips.frames(index)), dataformats="HWC")

    def on_evaluate(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if self.tb_writer and self._confusion is not None:
            figure = confusion_matrix(self._confusion, self._classes)
            self.tb_writer.add_figure("val/confusion", figure, state.global_step)


class Stopwatch(TrainerCallback):
    """Seconds spent in training steps, and the epochs they made, evaluation and saving left out."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.epochs = 0
        self._began = 0.0

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.seconds += time.monotonic() - self._began
        self.epochs += 1
