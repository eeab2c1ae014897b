"""Runs several trainings into the sub-folders of one, and summarises them after each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from finetune.report.schema import Report
from hmdb.machine import is_first_process

Summarize = Callable[[Sequence[Report]], tuple[str, dict[str, Any]]]


def sweep(runs: Iterable[Callable[[], Report]], output: Path, stem: str, summarize: Summarize) -> str:
    """Runs each training and writes `<stem>.md` and `<stem>.json` after each.

    Args:
        runs: train, or return the report of a run that is complete.
        summarize: makes the text and the JSON of the reports so far.

    Returns:
        The text.
    """
    reports: list[Report] = []
    text = ""
    for run in runs:
        reports.append(run())
        text, content = summarize(reports)
        if is_first_process():
            (output / f"{stem}.md").write_text(text, encoding="utf-8")
            (output / f"{stem}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return text
