"""Trains once for each fold of a cross-validation, and puts the figures side by side."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from finetune.config.data import DataSource
from finetune.config.recipe import Recipe
from finetune.data.layouts import index_dataset
from finetune.data.sample import ClipIndex
from finetune.evaluation.metrics import mean_recall, wilson_interval
from finetune.jobs.train import train
from finetune.report.formatting import mean_of_classes, percent, with_interval
from finetune.report.schema import Report
from hmdb.errors import DataError
from hmdb.machine import is_first_process

FOLDS_TEXT, FOLDS_FILE = "folds.md", "folds.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """The test figures of all folds.

    Attributes:
        folds: of each fold, top-1 and the number of its test clips.
        top1: over all clips together, each of which was tested once.
        top1_interval: its 95 % Wilson interval.
        mean_class: over all clips together, the mean over the classes of the share of each that is right.
        top1_mean, top1_deviation: over the folds.
    """

    folds: tuple[tuple[float, int], ...]
    top1: float
    top1_interval: tuple[float, float]
    mean_class: float
    top1_mean: float
    top1_deviation: float

    @classmethod
    def of(cls, reports: Sequence[Report]) -> CrossValidation:
        folds = tuple((found.top1, found.clips) for _, found in (report.judged for report in reports))
        clips = sum(count for _, count in folds)
        top1 = sum(share * count for share, count in folds) / clips
        shares = [share for share, _ in folds]
        return cls(
            folds=folds,
            top1=top1,
            top1_interval=wilson_interval(top1, clips),
            mean_class=mean_recall(np.sum([report.judged[1].confusion for report in reports], axis=0)),
            top1_mean=mean(shares),
            top1_deviation=stdev(shares),
        )


def cross_validate(
    recipe: Recipe,
    source: DataSource,
    output: Path,
    *,
    name: str = "paper",
    resume: bool = False,
    report_to: Collection[str] = ("tensorboard",),
    index: ClipIndex | None = None,
) -> CrossValidation:
    """Trains each fold in `<output>/fold-<number>` and writes folds.md and folds.json.

    Folds that are complete are not run again with `resume`.

    Args:
        name, report_to, index: as for `finetune.jobs.train.train`.

    Raises:
        DataError: the output folder is not empty, and what `train` raises.
    """
    if not resume and output.exists() and any(output.iterdir()):
        raise DataError(f"{output} is not empty: --resume goes on with it. Give a new --output folder otherwise.")
    reports = []
    index = index or index_dataset(source.location, source.group_by)
    for fold in range(1, source.folds + 1):
        log.info("Fold %d of %d", fold, source.folds)
        one = replace(source, fold=fold)
        folder = output / f"fold-{fold}"
        reports.append(train(recipe, one, folder, name=name, resume=resume, report_to=report_to, index=index))
    found = CrossValidation.of(reports)
    if is_first_process():
        (output / FOLDS_TEXT).write_text(to_markdown(found, reports), encoding="utf-8")
        (output / FOLDS_FILE).write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="utf-8")
    return found


def to_markdown(found: CrossValidation, reports: Sequence[Report]) -> str:
    """The table of folds.md."""
    names = {"top1": "top-1"} | ({"top5": "top-5"} if reports[0].tells_top5 else {})
    lines = [f"| fold | test clips | {' | '.join(names.values())} | mean of classes |"]
    lines.append(f"|---|---|{'---|' * (len(names) + 1)}")
    for number, report in enumerate(reports, start=1):
        _, judged = report.judged
        values = " | ".join([*(with_interval(judged, name) for name in names), mean_of_classes(judged)])
        lines.append(f"| {number} | {judged.clips} | {values} |")
    low, high = found.top1_interval
    clips = sum(count for _, count in found.folds)
    lines += [
        "",
        f"All {clips} clips, each tested once: top-1 {percent(found.top1)} % ({percent(low)} to {percent(high)}), "
        f"{percent(found.mean_class)} % in the mean of classes. "
        f"Mean of the folds {percent(found.top1_mean)} %, standard deviation {percent(found.top1_deviation)} points.",
        "",
        f"{reports[0].data.name}, divided each time as the first: {reports[0].data.split.origin}.",
    ]
    return "\n".join(lines) + "\n"
