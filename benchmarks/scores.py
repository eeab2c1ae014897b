"""Range of the attention scores over a split of a data set: `python -m benchmarks.scores --data DIR`

bfloat16 has steps of 2 from 256 on, and `exp` without subtracting the largest score overflows above 88. So
`hmdb.model.families.base.center_keys` makes scores smaller; this measures by how much, for any checkpoint.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from finetune.config.data import DataSource
from finetune.data.dataset import ClipDataset
from finetune.data.splits import read_splits
from hmdb.model.attention import SAFE_SUMS, AttentionRecord, recording
from hmdb.model.families import use_recorded_attention
from hmdb.model.hub import resolve_checkpoint
from hmdb.model.loading import BUNDLED, LoadedModel, load_checkpoint
from hmdb.model.optimize import optimize_for_inference
from hmdb.model.preprocess import normalize


@dataclass(frozen=True)
class Scores:
    """Range of the scores of one attention over one clip; `safe` if `exp` does not need the largest subtracted."""

    least: float
    largest: float
    safe: bool

    @classmethod
    def of(cls, attended: AttentionRecord) -> Scores:
        scores = (attended.query * attended.scale) @ attended.key.transpose(-2, -1)
        sums = scores.logsumexp(dim=-1)
        safe = (sums > math.log(SAFE_SUMS[0])) & (sums < math.log(SAFE_SUMS[1]))
        return cls(float(scores.min()), float(scores.max()), bool(safe.all()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scores")
    parser.add_argument("--data", required=True, help="as for python -m finetune")
    parser.add_argument("--part", default="val", choices=("train", "val", "test"), help="%(default)s")
    parser.add_argument("--model", default=BUNDLED, help="a folder or a Hub id (the bundled one)")
    options = parser.parse_args()
    disable_progress_bar()  # type: ignore[no-untyped-call]
    samples = read_splits(DataSource(options.data)).by_name()[options.part]
    for levelled in (False, True):
        loaded = load_checkpoint(resolve_checkpoint(options.model), torch.device("cpu"))
        network = use_recorded_attention(loaded.network)
        if levelled:
            optimize_for_inference(network, "float32")
        else:
            print(f"{len(samples)} clips of {options.part}, attention of {loaded.checkpoint.name} in float32\n")
            print("| keys | least score | largest | attentions with a query that needs a softmax |")
            print("|---|---:|---:|---:|")
        clips = ClipDataset(samples, loaded.labels, loaded.clip_spec, loaded.pixel_spec)
        print(row("levelled" if levelled else "as trained", list(seen(network, loaded, clips))))


def seen(network: PreTrainedModel, loaded: LoadedModel, clips: ClipDataset) -> Iterator[Scores]:
    """The scores of each attention over each clip."""
    for index in tqdm(range(len(clips)), unit="clip", leave=False):
        pixels = normalize(torch.from_numpy(clips.frames(index))[None], loaded.pixel_spec)
        with torch.inference_mode(), recording(Scores.of) as kept:
            network(pixel_values=pixels)
        yield from kept.values()


def row(keys: str, found: list[Scores]) -> str:
    unsafe = sum(not each.safe for each in found)
    least, largest = min(each.least for each in found), max(each.largest for each in found)
    return f"| {keys} | {least:.0f} | {largest:.0f} | {unsafe} of {len(found)} |"


if __name__ == "__main__":
    main()
