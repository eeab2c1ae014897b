"""Whether the maps mean anything, over a part of a data set: `python -m benchmarks.faithfulness --data DIR`

For each clip the patches that a map marks most are masked, and as many at random; see `hmdb/explain/faithfulness.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from finetune.data.source import DataSource
from finetune.data.splits import read_splits
from hmdb.recognizer import Recognizer
from hmdb.results import Faithfulness


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faithfulness")
    parser.add_argument("--data", required=True, help="as for python -m finetune")
    parser.add_argument("--part", default="val", choices=("train", "val", "test"), help="%(default)s")
    parser.add_argument("--model", help="as for python -m hmdb")
    options = parser.parse_args()
    recognizer = Recognizer.from_pretrained(options.model)
    samples = read_splits(DataSource(options.data)).by_name()[options.part]
    rollouts, class_maps = [], []
    for sample in tqdm(samples, unit="clip", leave=False):
        clip = recognizer.read(sample.path)
        plain = recognizer.explain(clip)
        rollouts.append(recognizer.faithfulness(plain))
        class_maps.append(recognizer.faithfulness(recognizer.explain(clip, label=plain.prediction.label)))
    print(f"{len(samples)} clips of {options.part}, answers of {recognizer.loaded.checkpoint.name}\n")
    print("| map | drop without the most marked fifth | without a random fifth | beats all random draws |")
    print("|---|---|---|---|")
    print(row("rollout", rollouts))
    print(row("class map of the answer", class_maps))


def row(name: str, found: Sequence[Faithfulness]) -> str:
    """Means over the clips, in points of probability."""
    drop, random = (np.mean([getattr(each, of) for each in found]) for of in ("drop", "random_drop"))
    beats = np.mean([each.beats_random for each in found])
    return f"| {name} | {drop:.1%} | {random:.1%} | {beats:.0%} of the clips |"


if __name__ == "__main__":
    main()
