"""Draws a subset of HMDB51, such as HMDB_simp."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from finetune.config.data import DataSource
from finetune.data.layouts import index_dataset
from finetune.data.sample import Sample
from finetune.data.splits import Splits, read_splits
from hmdb.errors import DataError


def cut_subset(location: str, output: Path, classes: Sequence[str], clips: int, seed: int) -> Splits:
    """Draws `clips` clips of each class into a new folder and splits them as the paper does.

    The files are hard links where the disk allows it, else copies.

    Raises:
        DataError: a class is not there or has too few clips, or the output folder is not empty.
    """
    samples = index_dataset(location).samples
    chosen = _choose(samples, classes, clips, seed)
    if output.exists() and any(output.iterdir()):
        raise DataError(f"{output} is not empty. Give a new --output folder.")
    for sample in chosen:
        target = output / sample.label / sample.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if sample.path.is_dir():
            shutil.copytree(sample.path, target, copy_function=_link)
        else:
            _link(sample.path, target)
    splits = read_splits(DataSource(str(output), "paper"), seed)
    splits.write(output)
    return splits


def _choose(samples: Sequence[Sample], classes: Sequence[str], clips: int, seed: int) -> list[Sample]:
    chosen: list[Sample] = []
    for label in classes:
        candidates = [sample for sample in samples if sample.label == label]
        if len(candidates) < clips:
            raise DataError(f"{label} has {len(candidates)} clip(s), fewer than --clips {clips}.")
        chosen += random.Random(f"{seed} {label}").sample(candidates, clips)
    return chosen


def _link(source: str | Path, target: str | Path) -> str:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copy2(source, target)
    return str(target)
