"""Overlap of a data set with the training data of a checkpoint, by the tables of splits in its folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from finetune.data.sample import Sample, nfc
from finetune.data.splits import row_of

SAME_SPLITS = "Give the --seed and the other options of the splits that it was trained with."


def training_overlap(folder: Path, samples: Sequence[Sample], *, chosen_too: bool = True) -> str:
    """Says how many of these clips a checkpoint was trained on or chosen by; empty if none is known.

    Clips are equal if class and name are.

    Args:
        folder: of the checkpoint; a finished run and a clone of a push have train.csv and val.csv in it.
        chosen_too: count the clips that it was chosen by, which is expected of val clips.
    """
    rows = {row_of(sample) for sample in samples}
    counts = []
    for split, purpose in (("train", "trained on"), ("val", "chosen by"))[: 1 + chosen_too]:
        if count := len(rows & _rows(folder / f"{split}.csv")):
            counts.append(f"was {purpose} {count}")
    return f"{' and '.join(counts)} of these {len(rows)} clips" if counts else ""


def _rows(table: Path) -> set[tuple[str, str]]:
    if not table.is_file():
        return set()
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file, restval=""))
    return {(nfc(row.get("class", "")), nfc(row.get("video_name", ""))) for row in rows}
