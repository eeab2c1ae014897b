"""The rows of the paper's tables, run one after the other, and our figures beside the paper's."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune.config.data import DataSource
from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.config.recipes import PAPER_ROWS, RECIPES, PaperRow, differences, recipe_of
from finetune.data.layouts import index_dataset
from finetune.evaluation.metrics import Accuracy
from finetune.jobs.train import train
from finetune.report.formatting import percent
from finetune.report.schema import Report
from finetune.run_dir import REPORT_FILE, read_json
from hmdb.errors import DataError
from hmdb.machine import is_first_process

TABLES_TEXT, TABLES_FILE = "tables.md", "tables.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the paper's tables beside ours.

    Attributes:
        run: the name of the row whose run it is.
        recipe: the settings in which it differs from the paper's best.
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

    Rows that are complete are not run again, and one that was cut off goes on where it was. Rows with
    the same settings, such as table1-1 and table2-k400, are one run. Rows that the folder holds already stay in the
    table, before those that are added.

    Args:
        names: of rows of the paper's tables.
        changes: settings that take the place of the recipes' in every row.

    Returns:
        The text of tables.md.

    Raises:
        DataError: no such row, and what `train` raises.
    """
    unknown = [name for name in names if name not in PAPER_ROWS]
    if unknown:
        raise DataError(f"There is no table row {unknown[0]}; known are {', '.join(PAPER_ROWS)}.")
    index = index_dataset(source.location, source.group_by)
    rows: list[Row] = []
    runs: dict[Any, str] = {}
    text = ""
    for name in dict.fromkeys([*_held(output), *names]):
        recipe = recipe_of(name, changes)
        run = runs.setdefault(recipe, name)
        log.info("%s%s", name, f" is the run of {run}" if run != name else "")
        report = train(recipe, source, output / run, name=run, resume=True, index=index)
        rows.append(_row(name, run, report))
        text = to_markdown(rows, changes, report)
        if is_first_process():
            _write(output, rows, changes, text)
    return text


def _held(output: Path) -> list[str]:
    """The names of the rows that an earlier call left in a folder."""
    rows = (read_json(output / TABLES_FILE) or {"rows": []})["rows"]
    return [row["name"] for row in rows if (output / row["run"] / REPORT_FILE).exists()]


def _row(name: str, run: str, report: Report) -> Row:
    _, found = report.judged
    return Row(
        name=name,
        run=run,
        paper=PAPER_ROWS[name],
        ours=Accuracy(**{key: getattr(found, key) for key in Accuracy.__dataclass_fields__}),
        recipe=differences(RECIPES[name]),
        epochs=report.training.epochs_trained if report.training else 0,
        seconds=report.seconds,
    )


def to_markdown(rows: Sequence[Row], changes: Mapping[str, Any], report: Report) -> str:
    """The table, paper beside ours, and what was changed from the paper's settings."""
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
            f"Our {len(report.classes)} classes are not the paper's {len(HMDB_SIMP)}, so the figures beside each other "
            "cannot be compared."
        )
    if changes:
        told = ", ".join(f"{name} {value}" for name, value in changes.items())
        lines.append(f"Changed in every row, so not the paper's experiment: {told}.")
    return "\n".join(lines) + "\n"


def _write(output: Path, rows: Sequence[Row], changes: Mapping[str, Any], text: str) -> None:
    (output / TABLES_TEXT).write_text(text, encoding="utf-8")
    content = {"rows": [asdict(row) for row in rows], "changes": dict(changes)}
    (output / TABLES_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
