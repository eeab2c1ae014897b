"""Trains rows of the paper's tables and compares our figures with the paper's."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from finetune.config.data import DataSource
from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.config.recipes import PAPER_ROWS, RECIPES, PaperRow, differences, recipe_of
from finetune.data.layouts import index_dataset
from finetune.evaluation.metrics import Accuracy
from finetune.jobs.sweep import sweep
from finetune.jobs.train import train
from finetune.report.formatting import percent
from finetune.report.schema import Report
from finetune.run_dir import REPORT_FILE, read_json
from hmdb.errors import DataError

TABLES = "tables"  # .md and .json

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the paper's tables with our figures.

    Attributes:
        run: the row in whose folder it was trained.
        recipe: the settings that differ from the paper's best.
    """

    name: str
    run: str
    paper: PaperRow
    ours: Accuracy
    recipe: dict[str, Any]
    epochs: int
    seconds: float


def run_tables(names: Sequence[str], source: DataSource, output: Path, changes: Mapping[str, Any]) -> str:
    """Trains each row in `<output>/<name>` and writes tables.md and tables.json after each.

    Complete rows are not repeated, and an interrupted one resumes. Rows with the same settings, such as table1-1 and
    table2-k400, share one run. Rows that the folder already holds stay in the table, before the new ones.

    Args:
        names: of rows of the paper's tables.
        changes: settings that replace the recipe's in every row.

    Returns:
        The text of tables.md.

    Raises:
        DataError: an unknown row, and the errors of `train`.
    """
    unknown = [name for name in names if name not in PAPER_ROWS]
    if unknown:
        raise DataError(f"There is no table row {unknown[0]}; known are {', '.join(PAPER_ROWS)}.")
    index = index_dataset(source.location, source.group_by)
    rows = list(dict.fromkeys([*_present_rows(output), *names]))
    recipes = {name: recipe_of(name, changes) for name in rows}
    run_of = {name: next(first for first in rows if recipes[first] == recipes[name]) for name in rows}

    def run(name: str) -> Report:
        log.info("%s%s", name, f" is the run of {run_of[name]}" if run_of[name] != name else "")
        return train(recipes[name], source, output / run_of[name], name=run_of[name], resume=True, index=index)

    def summarize(reports: Sequence[Report]) -> tuple[str, dict[str, Any]]:
        table = [_row(name, run_of[name], report) for name, report in zip(rows, reports, strict=False)]
        content = {"rows": [asdict(row) for row in table], "changes": dict(changes)}
        return to_markdown(table, changes, reports[-1]), content

    return sweep((partial(run, name) for name in rows), output, TABLES, summarize)


def _present_rows(output: Path) -> list[str]:
    """The names of the rows that an earlier call left in a folder."""
    rows = (read_json(output / f"{TABLES}.json") or {"rows": []})["rows"]
    return [row["name"] for row in rows if (output / row["run"] / REPORT_FILE).exists()]


def _row(name: str, run: str, report: Report) -> Row:
    _, split = report.headline_split
    return Row(
        name=name,
        run=run,
        paper=PAPER_ROWS[name],
        ours=Accuracy(**{key: getattr(split, key) for key in Accuracy.__dataclass_fields__}),
        recipe=differences(RECIPES[name]),
        epochs=report.training.epochs_trained if report.training else 0,
        seconds=report.seconds,
    )


def to_markdown(rows: Sequence[Row], changes: Mapping[str, Any], report: Report) -> str:
    """Renders tables.md: the paper's figures and ours, and the settings that were changed."""
    lines = [
        "| recipe | what | paper top-1 / top-5 | ours top-1 / top-5 | 95 % interval of our top-1 | epochs |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row.ours.top1_interval
        top5 = percent(row.ours.top5) if report.tells_top5 else "-"
        lines.append(
            f"| {row.name} | {row.paper.what} | {row.paper.top1} / {row.paper.top5} "
            f"| {percent(row.ours.top1)} / {top5} | {percent(low)} to {percent(high)} "
            f"| {row.epochs} |"
        )
    data = report.data
    lines += ["", f"Ours: {rows[0].ours.clips} test clips of {data.name}, {data.split.origin}."]
    if report.classes != HMDB_SIMP:
        lines.append(
            f"Our {len(report.classes)} classes are not the paper's {len(HMDB_SIMP)}: the figures cannot be compared."
        )
    if changes:
        settings = ", ".join(f"{name} {value}" for name, value in changes.items())
        lines.append(f"Changed in every row, so not the paper's experiment: {settings}.")
    return "\n".join(lines) + "\n"
