"""The rows of the paper's tables, run one after the other, and our figures beside the paper's."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.data.splits import DataSource
from finetune.jobs.train import train
from finetune.publish.report import percent
from finetune.recipe import PAPER_ROWS, RECIPES, differences, recipe_of
from hmdb.errors import DataError
from hmdb.machine import is_first_process

log = logging.getLogger(__name__)


def run_tables(names: Sequence[str], source: DataSource, output: Path, changes: Mapping[str, Any]) -> str:
    """Trains each row in `<output>/<name>` and writes tables.md and tables.json after each.

    Rows that are complete are not run again, and one that was cut off goes on where it was. Rows with
    the same settings, such as table1-1 and table2-k400, are one run.

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
    rows: list[dict[str, Any]] = []
    runs: dict[Any, str] = {}
    text = ""
    for name in dict.fromkeys(names):
        recipe = recipe_of(name, changes)
        run = runs.setdefault(recipe, name)
        log.info("%s%s", name, f" is the run of {run}" if run != name else "")
        report = train(recipe, source, output / run, name=run, resume=True)
        rows.append(_row(name, run, report))
        text = to_markdown(rows, changes, report)
        if is_first_process():
            _write(output, rows, changes, text)
    return text


def _row(name: str, run: str, report: Mapping[str, Any]) -> dict[str, Any]:
    paper, test = PAPER_ROWS[name], report["test"]
    return {
        "name": name,
        "what": paper.what,
        "run": run,
        "paper": {"top1": paper.top1, "top5": paper.top5},
        "ours": {key: test[key] for key in ("top1", "top1_interval", "top5", "top5_interval", "clips")},
        "recipe": differences(RECIPES[name]),
        "epochs": len(report["epochs"]),
        "seconds": report["speed"]["seconds"],
    }


def to_markdown(rows: Sequence[Mapping[str, Any]], changes: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """The table, paper beside ours, and what was changed from the paper's settings."""
    lines = [
        "| recipe | what | paper top-1 / top-5 | ours top-1 / top-5 | 95 % interval of our top-1 | epochs |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        paper, ours = row["paper"], row["ours"]
        low, high = ours["top1_interval"]
        lines.append(
            f"| {row['name']} | {row['what']} | {paper['top1']} / {paper['top5']} "
            f"| {percent(ours['top1'])} / {percent(ours['top5'])} | {percent(low)} to {percent(high)} "
            f"| {row['epochs']} |"
        )
    data = report["data"]
    lines += ["", f"Ours: {rows[0]['ours']['clips']} test clips of {data['name']}, {data['split']['origin']}."]
    if changes:
        told = ", ".join(f"{name} {value}" for name, value in changes.items())
        lines.append(f"Changed in every row, so not the paper's experiment: {told}.")
    return "\n".join(lines) + "\n"


def _write(output: Path, rows: Sequence[Mapping[str, Any]], changes: Mapping[str, Any], text: str) -> None:
    (output / "tables.md").write_text(text, encoding="utf-8")
    content = {"rows": list(rows), "changes": dict(changes)}
    (output / "tables.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
