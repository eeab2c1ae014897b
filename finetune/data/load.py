"""Splits -> their clips, read, without the broken ones, and what the splits share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.config.data import DataSource
from finetune.data.dataset import ClipDataset, refuse_many_broken
from finetune.data.layouts import Sample
from finetune.data.leakage import LeakReport, find_leaks, fingerprints
from finetune.data.more import find_extra
from finetune.data.splits import Splits
from hmdb.clips.clip import ClipSpec
from hmdb.model.preprocess import PixelSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipData:
    """The clips of a run.

    Attributes:
        splits: without the broken clips.
        train: the clips of the train split, and whatever else there is to train on.
        val, test: the clips that choose the epoch, and those that judge it.
        broken: name -> reason.
        leaks: what the splits share.
    """

    splits: Splits
    train: ClipDataset
    val: ClipDataset
    test: ClipDataset
    broken: dict[str, str]
    leaks: LeakReport

    @property
    def added(self) -> Sequence[Sample]:
        """The training clips that are in no split."""
        return self.train.samples[len(self.splits.train) :]


def load_clips(
    splits: Splits,
    source: DataSource,
    clip_spec: ClipSpec,
    pixel_spec: PixelSpec,
    *,
    seed: int,
    cache: Path,
    progress: bool,
    unlabelled: str = "",
) -> ClipData:
    """Reads all clips of the splits, and what else there is to train on; says which are broken and what the splits
    share.

    Args:
        source: where the splits are from, and further clips; whether more than 2 % of the clips may be broken.
        seed: of the random sampler.
        cache: a folder for the decoded clips, used again where it holds the same ones.
        progress: show a progress bar.
        unlabelled: a folder with videos that nobody has labelled, to train on, too.

    Raises:
        DataError: too many are broken, or all of a class in a split, the disk has no room, or the further clips
            are of no use.
    """

    def read(split: str, samples: Sequence[Sample]) -> ClipDataset:
        return ClipDataset(
            samples,
            splits.classes,
            clip_spec,
            pixel_spec,
            seed=seed,
            redraw=split == "train",
            cache=cache / split,
            progress=progress,
        )

    val, test = read("val", splits.val), read("test", splits.test)
    more = [
        sample
        for folder, labelled in ((source.more, True), (unlabelled, False))
        if folder
        for sample in find_extra(
            folder,
            splits,
            (val, test),
            cache=cache / ("more" if labelled else "unlabelled"),
            labelled=labelled,
            keep_similar=source.keep_similar,
        )
    ]
    train = read("train", [*splits.train, *more])
    broken = refuse_many_broken({"train": train, "val": val, "test": test}, allowed=source.allow_broken)
    for clip, reason in broken.items():
        log.warning("Left out: %s: %s", clip, reason)
    splits = splits.without(broken)
    leaks = find_leaks(splits, fingerprints(train, val, test))
    for line in leaks.lines():
        log.info("Split: %s", line)
    return ClipData(splits=splits, train=train, val=val, test=test, broken=broken, leaks=leaks)
