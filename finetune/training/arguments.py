"""Translates a recipe into the arguments of the Trainer and its optimizer."""

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

# transformers renamed the argument during version 5
RECOMPUTING = (
    "activation_checkpointing" if hasattr(TrainingArguments, "activation_checkpointing") else "gradient_checkpointing"
)


OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
# transformers' "constant" leaves out the warm-up
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def usable_precision(precision: str) -> str:
    """Returns the precision if the device trains in it, else float32, with a warning."""
    on_gpu = torch.cuda.is_available()
    if (precision == "float16" and not on_gpu) or (
        precision == "bfloat16" and on_gpu and not torch.cuda.is_bf16_supported()
    ):
        log.warning("This device does not train in %s; float32 is used.", precision)
        return "float32"
    return precision


def training_arguments(recipe: Recipe, checkpoints: Path) -> TrainingArguments:
    """Builds the arguments of the Trainer, which also joins the other processes of a launch.

    Args:
        recipe: with a precision that the device trains in.

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
        restore_callback_states_from_checkpoint=True,  # the counter of early stopping
        report_to="none",  # the callbacks are passed to the Trainer, TensorBoard's with a folder for each run
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_num_workers=min(8, os.cpu_count() or 1) if on_gpu else 0,
        dataloader_pin_memory=on_gpu,
        disable_tqdm=not sys.stderr.isatty(),
        **recomputing,
    )


def optimizer(recipe: Recipe) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Returns the class and options of a recipe's optimizer."""
    options: dict[str, Any] = {"lr": recipe.learning_rate} | (
        {"momentum": recipe.momentum} if recipe.optimizer == "sgd" else {}
    )
    if torch.cuda.is_available():
        options["fused"] = True
    return OPTIMIZERS[recipe.optimizer], options
