"""Faithfulness of the maps over a split of a data set: `python -m benchmarks.faithfulness --data DIR`

The scores are those of `hmdb/explain/faithfulness.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from finetune.config.data import DataSource
from finetune.data.splits import read_splits
from hmdb.recognizer import MAPS, Recognizer
from hmdb.results import Faithfulness


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faithfulness")
    parser.add_argument("--data", required=True, help="as for python -m finetune")
    parser.add_argument("--part", default="val", choices=("train", "val", "test"), help="%(default)s")
    parser.add_argument("--model", help="as for python -m hmdb")
    options = parser.parse_args()
    recognizer = Recognizer.from_pretrained(options.model)
    samples = read_splits(DataSource(options.data)).by_name()[options.part]
    found: dict[str, list[Faithfulness]] = {kind: [] for kind in MAPS}
    for sample in tqdm(samples, unit="clip", leave=False):
        clip = recognizer.read(sample.path)
        for kind, of_clips in found.items():
            of_clips.append(recognizer.faithfulness(recognizer.explain(clip, kind=kind)))
    print(f"{len(samples)} clips of {options.part}, answers of {recognizer.loaded.checkpoint.name}\n")
    print("| map | score | above chance | drop without the most relevant fifth |")
    print("|---|---|---|---|")
    for kind, of_clips in found.items():
        print(row(kind, of_clips))


def row(name: str, found: Sequence[Faithfulness]) -> str:
    """Means over the clips."""
    score, beats = np.mean([each.score for each in found]), np.mean([each.above_chance for each in found])
    drop = np.mean([each.deleted[0] - each.deleted[1] for each in found])
    return f"| {name} | {score:.3f} | {beats:.0%} of the clips | {drop:.1%} |"


if __name__ == "__main__":
    main()
