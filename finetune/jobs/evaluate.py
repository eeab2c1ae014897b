"""Evaluates a saved checkpoint on a split and writes its report."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from finetune.config.data import DataSource
from finetune.data.dataset import ClipDataset, refuse_many_broken
from finetune.data.overlap import SAME_SPLITS, training_overlap
from finetune.data.sample import nfc
from finetune.data.splits import Splits, read_all, read_splits
from finetune.evaluation.calibrate import reliability_table
from finetune.evaluation.metrics import average_views
from finetune.evaluation.precision import compare
from finetune.evaluation.predict import join_processes, predict
from finetune.evaluation.views import crop_views
from finetune.report import page
from finetune.report.build import build, describe_data
from finetune.report.schema import Report
from finetune.training.checkpoint import write_calibration, write_precision_cost
from hmdb.errors import DataError, ModelError
from hmdb.machine import use_available_cores
from hmdb.model.hub import resolve_checkpoint
from hmdb.model.loading import LoadedModel, load_checkpoint

log = logging.getLogger(__name__)


def evaluate(
    model: str,
    source: DataSource,
    output: Path,
    *,
    revision: str | None = None,
    split: str = "test",
    sampler: str | None = None,
    batch_size: int = 8,
    seed: int = 0,
    dtype: str = "float32",
    write_to_checkpoint: bool = False,
    views: str = "1x1",
) -> Report:
    """Writes report.json, report.md and figures of a checkpoint on one split of a data set, or on all of it.

    It uses the calibration that the checkpoint carries, and fits none.

    Args:
        split: "val", "test" or "all".
        sampler: in place of the checkpoint's.
        seed: of the splits and of the random sampler.
        dtype: the precision; other than in float32, clips are predicted one at a time in both, and the report has
            the comparison under "precision".
        write_to_checkpoint: write into the checkpoint's config.json a reliability table, or, for another precision
            than float32, its cost.
        views: test-time views whose probabilities are averaged; see `finetune.evaluation.views.crop_views`.

    Raises:
        DataError: the checkpoint does not know the classes of the data set, or that cannot be read; the output folder
            is not empty; nothing could be written to the checkpoint, or it was trained on the clips.
        ModelError: the checkpoint cannot be loaded, or its device does not support the dtype.
    """
    began = time.monotonic()
    if output.exists() and any(output.iterdir()):
        raise DataError(f"{output} is not empty. Give a new --output folder.")
    crops = crop_views(views)
    if write_to_checkpoint and not (split == "val" and sampler is None and len(crops) == 1):
        raise DataError("--write-to-checkpoint needs the val split and the checkpoint's own sampler, in one view.")
    if len(crops) > 1 and dtype != "float32":
        raise DataError(f"--views {views} needs --precision float32.")
    processes = join_processes()
    splits = read_all(source) if split == "all" else read_splits(source, seed)
    on_cpu = write_to_checkpoint or dtype == "int8"
    loaded = load_checkpoint(resolve_checkpoint(model, revision), torch.device("cpu") if on_cpu else None)
    checkpoint = loaded.checkpoint
    if loaded.head is not None and loaded.head.num_views > 1:
        raise ModelError(
            f"{checkpoint.name} was taught with the halves of each clip, which only `python -m hmdb` reads."
        )
    if write_to_checkpoint and checkpoint.revision:
        raise DataError(f"{checkpoint.name} is on the Hub. --write-to-checkpoint needs a checkpoint in a folder.")
    loaded = replace(loaded, labels=tuple(map(nfc, loaded.labels)), clip_spec=loaded.clip_spec.with_sampler(sampler))
    _refuse_unknown_classes(splits, loaded)
    samples = splits.by_name()["test" if split == "all" else split]
    notes = list(loaded.notes)
    if overlap := training_overlap(checkpoint.folder, samples, chosen_too=split != "val"):
        if write_to_checkpoint:
            raise DataError(f"{checkpoint.name} {overlap}, so it cannot be measured on them. {SAME_SPLITS}")
        notes.append(f"{checkpoint.name} {overlap}: it may be less accurate on new videos.")
        log.warning("%s %s", notes[-1], SAME_SPLITS)
    read = partial(ClipDataset, samples, loaded.labels, loaded.clip_spec, loaded.pixel_spec, seed=seed)
    datasets = [read(read=crop.pixels) for crop in crops]
    unreadable = {name: reason for dataset in datasets for name, reason in dataset.broken.items()}
    for dataset in datasets:
        dataset.leave_out(unreadable)
    broken = refuse_many_broken({split: datasets[0]}, allowed=source.allow_broken)
    parameters, comparison = loaded.network.num_parameters(), None
    if dtype == "float32":
        predictions = average_views([predict(loaded, dataset, split, batch_size) for dataset in datasets])
    else:
        use_available_cores()
        predictions, comparison = compare(loaded, datasets[0], split, dtype)
    report = build(
        loaded,
        describe_data(splits, broken, source),
        [predictions],
        parameters=parameters,
        precision=comparison,
        views=views,
        notes=tuple(notes),
        seconds=round(time.monotonic() - began, 1),
    )
    if processes.is_main_process:
        page.write(report, output, predictions, datasets[0], loaded)
        if write_to_checkpoint and comparison:
            write_precision_cost(checkpoint.folder, dtype, comparison.cost(len(predictions.names), split))
        elif write_to_checkpoint:
            probabilities = loaded.calibration.probabilities(predictions.logits)
            table = reliability_table(probabilities, predictions.classes)
            write_calibration(checkpoint.folder, replace(loaded.calibration, bins=table))
    return report


def _refuse_unknown_classes(splits: Splits, loaded: LoadedModel) -> None:
    unknown = [label for label in splits.classes if label not in loaded.labels]
    if unknown:
        raise DataError(
            f"{len(unknown)} of the {len(splits.classes)} classes of {splits.data} are not among the "
            f"{len(loaded.labels)} of {loaded.checkpoint.name}: {', '.join(unknown[:3])}. "
            f"It knows {', '.join(loaded.labels[:3])}, ..."
        )
