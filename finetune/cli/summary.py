"""The lines that train and evaluate print of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune.report.schema import Report


def print_summary(report: Report) -> None:
    """Prints the metrics of each evaluated split, then the warnings."""
    for name, split in report.evaluated.items():
        top5 = f", top-5 {split.top5:.1%}" if report.tells_top5 else ""
        mean = "" if split.mean_class is None else f", mean-class {split.mean_class:.1%}"
        print(f"{name}: top-1 {split.top1:.1%}{top5}{mean} of {split.clips} clips")
    for line in report.warnings:
        print(line)
