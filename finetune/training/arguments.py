"""A recipe -> the Trainer's arguments and its optimizer."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from finetune.config.recipe import Recipe
from hmdb.errors import DataError
from hmdb.machine import num_processes

log = logging.getLogger(__name__)

# Its name in transformers, since and until some way through version 5.
RECOMPUTING = (
    "activation_checkpointing" if hasattr(TrainingArguments, "activation_checkpointing") else "gradient_checkpointing"
)


OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
# transformers' "constant" leaves out the warm-up
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def usable_precision(wanted: str) -> str:
    """The precision that was asked for, or float32 where the device has no such."""
    on_gpu = torch.cuda.is_available()
    if (wanted == "float16" and not on_gpu) or (wanted == "bfloat16" and on_gpu and not torch.cuda.is_bf16_supported()):
        log.warning("This device does not train in %s; float32 is used.", wanted)
        return "float32"
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


def training_arguments(recipe: Recipe, checkpoints: Path) -> TrainingArguments:
    """The recipe as the Trainer wants it. With other processes about, it meets them.

    Args:
        recipe: with a precision that the device has.

    Raises:
        DataError: the batch does not divide among the devices.
    """
    on_gpu = torch.cuda.is_available()
    processes = num_processes()
    devices = processes if processes > 1 else max(torch.cuda.device_count(), 1)
    if recipe.batch_size % devices:
        raise DataError(f"A batch of {recipe.batch_size} does not divide among {devices} devices; change --batch-size.")
    recomputing: dict[str, Any] = {RECOMPUTING: recipe.activation_checkpointing}
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=recipe.batch_size // devices,
        per_device_eval_batch_size=recipe.batch_size // devices,
        gradient_accumulation_steps=recipe.accumulation,
        torch_compile=recipe.compile,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type=SCHEDULES[recipe.schedule],
        warmup_steps=recipe.warmup,
        bf16=recipe.precision == "bfloat16",
        fp16=recipe.precision == "float16",
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
        **recomputing,
    )


def optimizer(recipe: Recipe) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The class and the options of a recipe's optimizer."""
    options: dict[str, Any] = {"lr": recipe.learning_rate} | (
        {"momentum": recipe.momentum} if recipe.optimizer == "sgd" else {}
    )
    if torch.cuda.is_available():
        options["fused"] = True
    return OPTIMIZERS[recipe.optimizer], options
