"""Cross-validates a recipe: trains once for each fold and summarises the test figures."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from finetune.config.data import DataSource
from finetune.config.recipe import Recipe
from finetune.data.layouts import index_dataset
from finetune.data.sample import ClipIndex
from finetune.evaluation.metrics import mean_recall, wilson_interval
from finetune.jobs.sweep import sweep
from finetune.jobs.train import train
from finetune.report.formatting import mean_class, percent, with_interval
from finetune.report.schema import Report
from hmdb.errors import DataError

FOLDS = "folds"  # .md and .json

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """The test figures of the folds.

    Attributes:
        folds: top-1 and number of test clips of each.
        top1: pooled over the clips of all folds, each of which was tested once.
        top1_interval: its 95 % Wilson interval.
        mean_class: mean-class accuracy of the pooled clips.
        top1_mean, top1_deviation: mean and standard deviation of the folds.
    """

    folds: tuple[tuple[float, int], ...]
    top1: float
    top1_interval: tuple[float, float]
    mean_class: float
    top1_mean: float
    top1_deviation: float

    @classmethod
    def of(cls, reports: Sequence[Report]) -> CrossValidation:
        splits = [report.headline_split[1] for report in reports]
        clips = sum(split.clips for split in splits)
        top1 = sum(split.top1 * split.clips for split in splits) / clips
        shares = [split.top1 for split in splits]
        return cls(
            folds=tuple((split.top1, split.clips) for split in splits),
            top1=top1,
            top1_interval=wilson_interval(top1, clips),
            mean_class=mean_recall(np.sum([split.confusion for split in splits], axis=0)),
            top1_mean=mean(shares),
            top1_deviation=stdev(shares) if len(shares) > 1 else 0.0,
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
) -> str:
    """Trains each fold in `<output>/fold-<number>` and writes folds.md and folds.json after each.

    With `resume`, complete folds are not repeated.

    Args:
        name, report_to, index: as for `finetune.jobs.train.train`.

    Returns:
        The text of folds.md.

    Raises:
        DataError: the output folder is not empty, and the errors of `train`.
    """
    if not resume and output.exists() and any(output.iterdir()):
        raise DataError(f"{output} is not empty. Add --resume to continue it, or give a new --output folder.")

    listed = index or index_dataset(source.location, source.group_by)

    def run(fold: int) -> Report:
        log.info("Fold %d of %d", fold, source.folds)
        folder, one = output / f"fold-{fold}", replace(source, fold=fold)
        return train(recipe, one, folder, name=name, resume=resume, report_to=report_to, index=listed)

    def summarize(reports: Sequence[Report]) -> tuple[str, dict[str, object]]:
        pooled = CrossValidation.of(reports)
        return to_markdown(pooled, reports), asdict(pooled)

    return sweep((partial(run, fold) for fold in range(1, source.folds + 1)), output, FOLDS, summarize)


def to_markdown(pooled: CrossValidation, reports: Sequence[Report]) -> str:
    """Renders folds.md."""
    metrics = {"top1": "top-1"} | ({"top5": "top-5"} if reports[0].tells_top5 else {})
    lines = [f"| fold | test clips | {' | '.join(metrics.values())} | mean-class |"]
    lines.append(f"|---|---|{'---|' * (len(metrics) + 1)}")
    for number, report in enumerate(reports, start=1):
        _, split = report.headline_split
        values = " | ".join([*(with_interval(split, metric) for metric in metrics), mean_class(split)])
        lines.append(f"| {number} | {split.clips} | {values} |")
    low, high = pooled.top1_interval
    clips = sum(count for _, count in pooled.folds)
    data = reports[0].data
    lines += [
        "",
        f"All {clips} clips, each tested once: top-1 {percent(pooled.top1)} % ({percent(low)} to {percent(high)}), "
        f"mean-class accuracy {percent(pooled.mean_class)} %. Mean of the folds {percent(pooled.top1_mean)} %, "
        f"standard deviation {percent(pooled.top1_deviation)} points.",
        "",
        f"{data.name}; the splits of the first fold: {data.split.origin}.",
    ]
    return "\n".join(lines) + "\n"
