"""Which clips a checkpoint has seen in training, by the tables that its run left beside it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from finetune.data.sample import Sample, nfc
from finetune.data.splits import row_of

SAME_SPLITS = "Give the --seed and the other options of the splits that it was trained with."


def training_overlap(folder: Path, samples: Sequence[Sample], *, chosen_too: bool = True) -> str:
    """How many of these clips a checkpoint was trained on or chosen by; empty where none are known.

    Clips are the same if class and name are.

    Args:
        folder: of the checkpoint; a finished run and a clone of a push have train.csv and val.csv in it.
        chosen_too: count those that it was chosen by; of val clips that is expected.
    """
    rows = {row_of(sample) for sample in samples}
    found = []
    for split, what in (("train", "trained on"), ("val", "chosen by"))[: 1 + chosen_too]:
        if count := len(rows & _rows(folder / f"{split}.csv")):
            found.append(f"was {what} {count}")
    return f"{' and '.join(found)} of these {len(rows)} clips" if found else ""


def _rows(table: Path) -> set[tuple[str, str]]:
    if not table.is_file():
        return set()
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file, restval=""))
    return {(nfc(row.get("class", "")), nfc(row.get("video_name", ""))) for row in rows}
