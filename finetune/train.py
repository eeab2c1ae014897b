"""Recipe + data -> a checkpoint that hmdb can load, and its figures."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import EvalPrediction

from finetune.augment import augment
from finetune.dataset import ClipDataset
from finetune.metrics import accuracies
from finetune.networks import Start, start
from finetune.recipe import Recipe
from finetune.splits import Splits, read_splits
from hmdb.clip import ClipSpec
from hmdb.errors import DataError
from hmdb.model import CLIP_SPEC_KEY, check_fit
from hmdb.preprocess import PIXELS_FILE, PixelSpec, normalize

METRICS_FILE = "metrics.json"
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class ClipTrainer(Trainer):
    """The Hugging Face Trainer on uint8 clips: augmented and normalised on the device."""

    def __init__(self, *, pixel_spec: PixelSpec, augmented: bool, **options: Any) -> None:
        super().__init__(**options)
        self._pixel_spec = pixel_spec
        self._augmented = augmented

    def compute_loss(self, model: torch.nn.Module, inputs: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        pixels = inputs["pixel_values"]  # uint8 (B, T, H, W, 3)
        if self._augmented and model.training:
            pixels = augment(pixels)
        inputs = {**inputs, "pixel_values": normalize(pixels, self._pixel_spec)}
        return super().compute_loss(model, inputs, *args, **options)


def train(recipe: Recipe, data: Path, output: Path) -> dict[str, Any]:
    """Trains, keeps the epoch with the best val top-1, evaluates it once on the test split.

    Leaves in `output`: the checkpoint (model.safetensors, config.json, preprocessor_config.json), the
    splits as csv, metrics.json, and TensorBoard logs in `runs/`.

    Returns:
        The contents of metrics.json.

    Raises:
        DataError: the data or the output folder do not fit.
        ModelError: the starting weights cannot be loaded.
        OSError: the disk is full, say. A checkpoint is written whole or not at all.
    """
    began = time.monotonic()
    splits = read_splits(data, recipe.seed)
    _claim(output)
    keep_freed_memory()
    set_seed(recipe.seed)
    origin = start(
        recipe.init,
        splits.classes,
        sampler=recipe.sampler,
        extension=recipe.extension,
        paper_pixels=recipe.pixels == "paper",
    )
    check_fit(origin.network.config, origin.clip_spec, origin.pixel_spec, recipe.init)
    splits.write(output)
    trainer, test = _trainer(recipe, splits, origin, output)
    trainer.train()
    if trainer.state.best_metric is None:
        raise DataError("Training ended before its first evaluation, so there is no checkpoint to keep.")
    val_figures = _figures(trainer, trainer.eval_dataset)
    test_figures = _figures(trainer, test)
    metrics = {
        "recipe": asdict(recipe),
        "base": origin.base,
        "base_revision": origin.revision,
        "classes": list(splits.classes),
        "split": {"origin": splits.origin, **{name: len(getattr(splits, name)) for name in ("train", "val", "test")}},
        "val": val_figures,
        "test": test_figures,
        "epochs": [
            {"epoch": row["epoch"], "top1": row["eval_top1"], "top5": row["eval_top5"], "loss": row["eval_loss"]}
            for row in trainer.state.log_history
            if "eval_top1" in row and row["epoch"] > 0
        ],
        "best_epoch": _best_epoch(trainer),
        "parameters": origin.network.num_parameters(),
        "seconds": round(time.monotonic() - began, 1),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, output)
    (output / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(output / "checkpoints")
    return metrics


def _claim(output: Path) -> None:
    """Makes the output folder, and refuses one that holds another run."""
    if output.exists() and any(output.iterdir()):
        raise DataError(f"{output} is not empty; it may hold another run. Give a new --output folder.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The output folder {output} cannot be made: {error.strerror}.") from error


def _trainer(recipe: Recipe, splits: Splits, origin: Start, output: Path) -> tuple[ClipTrainer, ClipDataset]:
    def dataset(split: str) -> ClipDataset:
        return ClipDataset(
            getattr(splits, split),
            splits.classes,
            origin.clip_spec,
            origin.pixel_spec,
            seed=recipe.seed,
            redraw=split == "train",
        )

    on_gpu = torch.cuda.is_available()
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(output / "runs"))
    arguments = TrainingArguments(
        output_dir=str(output / "checkpoints"),
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup,
        label_smoothing_factor=recipe.label_smoothing,
        bf16=recipe.precision == "bf16",
        fp16=recipe.precision == "fp16",
        seed=recipe.seed,
        use_cpu=not on_gpu,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="top1",
        greater_is_better=True,
        logging_steps=10,
        report_to="tensorboard",
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_num_workers=min(8, os.cpu_count() or 1) if on_gpu else 0,
        dataloader_pin_memory=on_gpu,
    )
    options = {"lr": recipe.learning_rate} | ({"momentum": recipe.momentum} if recipe.optimizer == "sgd" else {})
    trainer = ClipTrainer(
        pixel_spec=origin.pixel_spec,
        augmented=recipe.augment != "none",
        model=origin.network,
        args=arguments,
        train_dataset=dataset("train"),
        eval_dataset=dataset("val"),
        compute_metrics=_top1_top5,
        optimizer_cls_and_kwargs=(OPTIMIZERS[recipe.optimizer], options),
        callbacks=[EarlyStoppingCallback(recipe.patience)] if recipe.patience else [],
    )
    return trainer, dataset("test")


def _top1_top5(prediction: EvalPrediction) -> dict[str, float]:
    return accuracies(np.asarray(prediction.predictions), np.asarray(prediction.label_ids))


def _figures(trainer: Trainer, dataset: Any) -> dict[str, float]:
    """Top-1, top-5 and loss of the best epoch, on one split."""
    found = trainer.predict(dataset).metrics or {}
    return {name: found[f"test_{name}"] for name in ("top1", "top5", "loss")} | {"clips": len(dataset)}


def _best_epoch(trainer: Trainer) -> float:
    state = trainer.state
    return next(row["epoch"] for row in state.log_history if row.get("eval_top1") == state.best_metric)


def save_checkpoint(
    network: PreTrainedModel, clip_spec: ClipSpec, pixel_spec: PixelSpec, folder: Path, *, half: bool = False
) -> None:
    """Writes a checkpoint that `hmdb` and transformers load.

    It is written beside its place and then moved, so that a full disk leaves no half of it.

    Args:
        half: store the weights as float16.
    """
    staging = folder / ".saving"
    shutil.rmtree(staging, ignore_errors=True)
    setattr(network.config, CLIP_SPEC_KEY, clip_spec.to_dict())
    try:
        staging.mkdir(parents=True)
        state = {name: value.half() for name, value in network.state_dict().items()} if half else None
        network.save_pretrained(staging, state_dict=state)
        (staging / PIXELS_FILE).write_text(json.dumps(pixel_spec.to_dict(), indent=2) + "\n", encoding="utf-8")
        for path in sorted(staging.iterdir()):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory instead of returning it to the kernel at once.

    Training on a CPU frees and asks for the same large blocks at each step; where the kernel has no
    transparent huge pages, faulting them in again took most of the time.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    m_trim_threshold, m_mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, 2**31 - 1)
