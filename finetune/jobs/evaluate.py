"""A checkpoint + data -> its report."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from finetune.config.data import DataSource
from finetune.data.dataset import ClipDataset, refuse_many_broken
from finetune.data.overlap import SAME_SPLITS, training_overlap
from finetune.data.sample import nfc
from finetune.data.splits import Splits, read_all, read_splits
from finetune.data.views import crop_views
from finetune.evaluation.calibrate import counted
from finetune.evaluation.metrics import Predictions, averaged
from finetune.evaluation.precision import PrecisionComparison, compare
from finetune.report import page as pages
from finetune.report import schema as reports
from finetune.report.schema import Environment, Report
from finetune.training.arguments import evaluation_arguments
from finetune.training.checkpoint import keep_calibration, keep_rounding_cost
from finetune.training.trainer import ClipTrainer
from hmdb.errors import DataError
from hmdb.machine import is_first_process, use_available_cores
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
    keep: bool = False,
    several: str = "1x1",
) -> Report:
    """Writes report.json, report.md and figures of a checkpoint on one split of a data set, or on all of it.

    The calibration that the checkpoint carries is judged; none is fitted.

    Args:
        sampler: takes the clips another way than the checkpoint says.
        seed: of the splits and of the random sampler.
        dtype: the precision; in another than float32 the clips are answered one at a time, beside float32,
            and the report has the comparison under "precision".
        several: views of each video, whose probabilities are averaged; see `finetune.data.views.crop_views`.
        keep: write into the checkpoint's config.json, where it is looked for when it answers, how often answers of
            each sureness were right; or, in another precision than float32, what that costs.

    Raises:
        DataError: the data set has classes that the checkpoint does not know, or cannot be read, or
            the output folder is not empty, or there is nothing to keep or no place for it, or it would be kept of
            clips that the checkpoint was trained on.
        ModelError: the checkpoint cannot be loaded, or there is no such dtype where it is.
    """
    began = time.monotonic()
    if output.exists() and any(output.iterdir()):
        raise DataError(f"{output} is not empty. Give a new --output folder.")
    looks = crop_views(several)
    if keep and not (split == "val" and sampler is None and len(looks) == 1):
        raise DataError("--write-to-checkpoint is for the val split, with the clips taken the checkpoint's own way.")
    if len(looks) > 1 and dtype != "float32":
        raise DataError(f"--views {several} needs --precision float32.")
    splits = read_all(source) if split == "all" else read_splits(source, seed)
    loaded = load_checkpoint(
        resolve_checkpoint(model, revision), torch.device("cpu") if keep or dtype == "int8" else None
    )
    if keep and loaded.checkpoint.revision:
        raise DataError(
            f"{loaded.checkpoint.name} is on the Hub. --write-to-checkpoint needs a checkpoint that is a folder."
        )
    loaded = replace(loaded, labels=tuple(map(nfc, loaded.labels)))
    _refuse_unknown_classes(splits, loaded)
    clip_spec = loaded.clip_spec.with_sampler(sampler)
    samples = splits.by_name()["test" if split == "all" else split]
    notes = list(loaded.notes)
    if told := training_overlap(loaded.checkpoint.folder, samples, chosen_too=split != "val"):
        if keep:
            raise DataError(
                f"{loaded.checkpoint.name} {told}, and what it has seen tells nothing of new videos. {SAME_SPLITS}"
            )
        notes.append(f"{loaded.checkpoint.name} {told}: of new videos it may answer fewer right.")
        log.warning("%s %s", notes[-1], SAME_SPLITS)
    seen = [ClipDataset(samples, loaded.labels, clip_spec, loaded.pixel_spec, seed=seed, view=look) for look in looks]
    unread = {name: reason for each in seen for name, reason in each.broken.items()}
    for each in seen:
        each.leave_out(unread)
    dataset, *others = seen
    broken = refuse_many_broken({split: dataset}, allowed=source.allow_broken)
    parameters = loaded.network.num_parameters()
    outcome, compared = _answers(loaded, dataset, split, dtype, batch_size)
    if others:
        outcome = averaged([outcome, *(_answers(loaded, other, split, dtype, batch_size)[0] for other in others)])
    found = reports.details(outcome, loaded.labels, loaded.calibration)
    report = Report(
        model=loaded.checkpoint.name,
        model_type=loaded.network.config.model_type,
        base=loaded.checkpoint.name,
        base_revision=loaded.checkpoint.revision,
        clip_spec=clip_spec,
        parameters=parameters,
        classes=loaded.labels,
        data=reports.describe(splits, broken, source),
        val=found if split == "val" else None,
        test=found if split == "test" else None,
        all=found if split == "all" else None,
        precision=compared,
        views=several,
        notes=tuple(notes),
        eval_clips_per_second=outcome.clips_per_second,
        seconds=round(time.monotonic() - began, 1),
        machine=Environment.here(),
    )
    if is_first_process():
        pages.write(report, output, outcome, dataset, loaded.network, loaded.pixel_spec)
        if keep and compared:
            keep_rounding_cost(loaded.checkpoint.folder, dtype, compared.cost(len(outcome.names), split))
        elif keep:
            answers = counted(loaded.calibration.probabilities(outcome.logits), outcome.classes)
            keep_calibration(loaded.checkpoint.folder, replace(loaded.calibration, bins=answers))
    return report


def _refuse_unknown_classes(splits: Splits, loaded: LoadedModel) -> None:
    unknown = [label for label in splits.classes if label not in loaded.labels]
    if unknown:
        raise DataError(
            f"{len(unknown)} of the {len(splits.classes)} classes of {splits.data} are not among the "
            f"{len(loaded.labels)} of {loaded.checkpoint.name}: {', '.join(unknown[:3])}. "
            f"It knows {', '.join(loaded.labels[:3])}, ..."
        )


def _answers(
    loaded: LoadedModel, dataset: ClipDataset, split: str, dtype: str, batch_size: int
) -> tuple[Predictions, PrecisionComparison | None]:
    if dtype != "float32":
        use_available_cores()
        return compare(loaded, dataset, split, dtype)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = evaluation_arguments(Path(scratch), batch_size)
        trainer = ClipTrainer(pixel_spec=loaded.pixel_spec, model=loaded.network, args=arguments)
        return trainer.outcome(split, dataset), None
