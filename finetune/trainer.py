"""The Hugging Face Trainer, on clips."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import Trainer, TrainerCallback, TrainingArguments

from finetune.augment import augment
from finetune.checkpoint import write_pixel_spec
from finetune.dataset import ClipDataset
from finetune.distill import Distillation, loss_with_teacher
from finetune.folder import CHECKPOINT_PREFIX
from finetune.recipe import Recipe
from finetune.report import Outcome
from hmdb.errors import DataError, ModelError
from hmdb.model import Checkpoint, read_network
from hmdb.preprocess import PixelSpec, normalize

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}

log = logging.getLogger(__name__)


class ClipTrainer(Trainer):
    """The Hugging Face Trainer on uint8 clips: augmented and normalised on the device."""

    loss_is_scaled_for_ga = False  # the loss is the mean over a batch

    def __init__(
        self,
        *,
        pixel_spec: PixelSpec,
        recipe: Recipe = Recipe(),  # noqa: B008 - frozen
        distillation: Distillation | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.model_accepts_loss_kwargs = False
        self._pixel_spec = pixel_spec
        self._recipe = recipe
        self._distillation = distillation

    def compute_loss(
        self, model: torch.nn.Module, inputs: Mapping[str, Any], return_outputs: bool = False, *_: Any, **__: Any
    ) -> Any:
        """The loss of a batch; in training with augmentation, smoothed labels and the teacher."""
        pixels, classes = inputs["pixel_values"], inputs["labels"]  # uint8 (B, T, H, W, 3), int (B,)
        if model.training and self._recipe.augment != "none":
            pixels = augment(pixels)
        outputs = model(pixel_values=normalize(pixels, self._pixel_spec))
        smoothing = self._recipe.label_smoothing if model.training else 0.0
        if self._distillation and "targets" in inputs:
            loss = loss_with_teacher(outputs.logits, classes, inputs["targets"], self._distillation, smoothing)
        else:
            loss = functional.cross_entropy(outputs.logits, classes, label_smoothing=smoothing)
        return (loss, outputs) if return_outputs else loss

    # The Trainer reads the file's tensors by name, and those of a ViViT have other names on disk than in
    # memory: most of its weights would stay as they are, with no more than a warning.
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        self._load(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        self._load(Path(str(self.state.best_model_checkpoint)))

    def _load(self, checkpoint: Path) -> None:
        saved, missing = read_network(Checkpoint(folder=checkpoint, name=checkpoint.name))
        if missing:
            raise ModelError(f"{checkpoint} lacks weights: {', '.join(sorted(missing)[:3])}, ...")
        self.accelerator.unwrap_model(self.model).load_state_dict(saved.state_dict())

    def outcome(self, part: str, dataset: ClipDataset) -> Outcome:
        """The answers on a part of the data, each clip once, whatever the number of processes."""
        began = time.monotonic()
        found = self.predict(dataset)
        return Outcome(
            part=part,
            names=tuple(sample.name for sample in dataset.samples),
            logits=np.asarray(found.predictions, dtype=np.float32),
            classes=np.asarray(found.label_ids),
            seconds=time.monotonic() - began,
        )


class PixelFile(TrainerCallback):
    """Makes each of the Trainer's checkpoints one that hmdb can load."""

    def __init__(self, pixel_spec: PixelSpec) -> None:
        self._pixel_spec = pixel_spec

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        if state.is_world_process_zero:
            write_pixel_spec(self._pixel_spec, Path(str(args.output_dir)) / f"{CHECKPOINT_PREFIX}{state.global_step}")


class Patience(TrainerCallback):
    """Early stopping that is told by the log alone, so that a resumed run stops where it would have."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_evaluate(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        control.should_training_stop = out_of_patience(state.log_history, self._epochs)


def out_of_patience(history: Sequence[Mapping[str, Any]], epochs: int) -> bool:
    """Whether the last `epochs` evaluations brought no better val top-1; never where `epochs` is 0."""
    found = [row["eval_top1"] for row in history if "eval_top1" in row]
    return bool(epochs and found) and len(found) - 1 - found.index(max(found)) >= epochs


def usable_precision(wanted: str) -> str:
    """The arithmetic that was asked for, or fp32 where the device has no such."""
    on_gpu = torch.cuda.is_available()
    if (wanted == "fp16" and not on_gpu) or (wanted == "bf16" and on_gpu and not torch.cuda.is_bf16_supported()):
        log.warning("This device does not train in %s; fp32 is used.", wanted)
        return "fp32"
    return wanted


def evaluation_arguments(output: Path, batch_size: int) -> TrainingArguments:
    """What `ClipTrainer.outcome` needs alone."""
    return TrainingArguments(
        output_dir=str(output),
        per_device_eval_batch_size=batch_size,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        remove_unused_columns=False,
        label_names=["labels"],
    )


def training_arguments(recipe: Recipe, precision: str, checkpoints: Path) -> TrainingArguments:
    """The recipe as the Trainer wants it. With other processes about, it meets them.

    Raises:
        DataError: the batch does not divide among the devices.
    """
    on_gpu = torch.cuda.is_available()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    devices = processes if processes > 1 else max(torch.cuda.device_count(), 1)
    if recipe.batch_size % devices:
        raise DataError(f"A batch of {recipe.batch_size} does not divide among {devices} devices; change --batch-size.")
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=recipe.batch_size // devices,
        per_device_eval_batch_size=recipe.batch_size // devices,
        gradient_accumulation_steps=recipe.accumulation,
        activation_checkpointing=recipe.activation_checkpointing,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        tf32=True if on_gpu and torch.cuda.get_device_capability() >= (8, 0) else None,
        seed=recipe.seed,
        data_seed=recipe.seed,
        use_cpu=not on_gpu,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,  # with 1 the Trainer removes the last at the end, and a run cut off then would train again
        load_best_model_at_end=True,
        metric_for_best_model="top1",
        greater_is_better=True,
        logging_steps=10,
        report_to="none",  # Board does it, in a folder of its own for each run
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_num_workers=min(8, os.cpu_count() or 1) if on_gpu else 0,
        dataloader_pin_memory=on_gpu,
        disable_tqdm=not sys.stderr.isatty(),
    )


def optimizer(recipe: Recipe) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The class and the options of a recipe's optimizer."""
    options: dict[str, Any] = {"lr": recipe.learning_rate} | (
        {"momentum": recipe.momentum} if recipe.optimizer == "sgd" else {}
    )
    if torch.cuda.is_available():
        options["fused"] = True
    return OPTIMIZERS[recipe.optimizer], options
