"""Splits -> their clips, read, without the broken ones, and what the splits share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.data.dataset import ClipDataset, refuse_many_broken
from finetune.data.layouts import SPLITS, Sample
from finetune.data.leaks import LeakReport, find_leaks, fingerprints
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

    def training_on(self, more: Sequence[Sample]) -> ClipData:
        """The same with further training clips, which are in no split."""
        return replace(self, train=self.train.like([*self.train.samples, *more]))

    @property
    def evaluated(self) -> tuple[ClipDataset, ClipDataset]:
        return self.val, self.test

    @property
    def added(self) -> Sequence[Sample]:
        """The training clips that are in no split."""
        return self.train.samples[len(self.splits.train) :]


def load_clips(
    splits: Splits,
    clip_spec: ClipSpec,
    pixel_spec: PixelSpec,
    *,
    seed: int,
    cache: Path,
    progress: bool,
    allow_broken: bool,
) -> ClipData:
    """Reads all clips of the splits; says which are broken and what the splits share.

    Args:
        seed: of the random sampler.
        cache: a folder for the decoded clips, used again where it holds the same ones.
        progress: show a progress bar.
        allow_broken: go on where more than 2 % of the clips cannot be read.

    Raises:
        DataError: too many are broken, or the disk has no room.
    """
    datasets = {
        split: ClipDataset(
            splits.by_name()[split],
            splits.classes,
            clip_spec,
            pixel_spec,
            seed=seed,
            redraw=split == "train",
            cache=cache / split,
            progress=progress,
        )
        for split in SPLITS
    }
    broken = refuse_many_broken(datasets, allowed=allow_broken)
    for clip, reason in broken.items():
        log.warning("Left out: %s: %s", clip, reason)
    splits = splits.without(broken)
    leaks = find_leaks(splits, fingerprints(*datasets.values()))
    for line in leaks.lines():
        log.info("Split: %s", line)
    return ClipData(splits=splits, **datasets, broken=broken, leaks=leaks)
