"""Reads the clips of a run: the splits without broken clips, extra training clips, and the leakage between splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.config.data import DataSource
from finetune.data.dataset import ClipDataset, refuse_many_broken
from finetune.data.hmdb51 import group_of
from finetune.data.leakage import Fingerprint, LeakReport, find_leaks, fingerprints, similar_pairs
from finetune.data.sample import Sample
from finetune.data.splits import Splits
from hmdb.clips.clip import ClipSpec
from hmdb.errors import DataError
from hmdb.model.preprocess import PixelSpec
from hmdb.video.discover import find_videos

NO_LABEL = ""  # label of an unlabelled sample

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipData:
    """The clips of a run.

    Attributes:
        splits: without the broken clips.
        train: the clips of the train split, followed by the extra ones.
        val, test: the clips of these splits.
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
    """Reads all clips of the splits and the extra training clips; logs the broken ones and the leakage.

    Args:
        source: has the folder of extra clips, and may allow that more than 2 % of the clips are broken.
        seed: of the random sampler.
        cache: a folder for the decoded clips, used again where it holds the same ones.
        progress: show a progress bar.
        unlabelled: a folder of unlabelled videos to train on, too.

    Raises:
        DataError: too many are broken, or all of a class in a split, the disk has no room, or the extra clips
            cannot be used.
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
    prints = fingerprints(val, test)
    extra = [
        sample
        for folder, labelled in ((source.more, True), (unlabelled, False))
        if folder
        for sample in find_extra(
            folder,
            splits,
            (val, test),
            prints,
            cache=cache / ("more" if labelled else "unlabelled"),
            labelled=labelled,
            keep_similar=source.keep_similar,
        )
    ]
    train = read("train", [*splits.train, *extra])
    broken = refuse_many_broken({"train": train, "val": val, "test": test}, allowed=source.allow_broken)
    for clip, reason in broken.items():
        log.warning("Left out: %s: %s", clip, reason)
    splits = splits.without(broken)
    leaks = find_leaks(splits, {**fingerprints(train, only={sample.name for sample in splits.train}), **prints})
    for line in leaks.lines():
        log.info("Split: %s", line)
    return ClipData(splits=splits, train=train, val=val, test=test, broken=broken, leaks=leaks)


def find_extra(
    folder: str,
    splits: Splits,
    evaluated: Sequence[ClipDataset],
    prints: Mapping[str, Fingerprint],
    *,
    cache: Path | None = None,
    labelled: bool = False,
    keep_similar: bool = False,
) -> list[Sample]:
    """Lists extra training clips. Those that resemble a val or test clip are left out: by source video, content or
    near-duplicate frames.

    Args:
        folder: has videos at any depth, or, labelled, <class>/<video>.
        evaluated: the val and test clips.
        prints: their fingerprints.
        cache: path of the file for the decoded clips, used again where it holds the same ones.
        keep_similar: leave none out.

    Raises:
        DataError: no such folder, no usable video in it, or a label that is no class of the data.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"There is no folder {root} with more videos.")
    samples = [
        Sample(
            path,
            path.relative_to(root).parts[0] if labelled else NO_LABEL,
            f"{root.name}/{path.relative_to(root).as_posix()}",
            group_of(path.name, path.parent.name),
        )
        for path in find_videos(root)
        if path != root  # which find_videos returns for an empty folder
    ]
    if unknown := sorted({sample.label for sample in samples} - {NO_LABEL, *splits.classes}):
        raise DataError(f"{root} has a folder {unknown[0]}, which is no class of {splits.data}.")
    present = {sample.path.resolve() for sample in splits.train}
    samples = [sample for sample in samples if sample.path.resolve() not in present]
    read = evaluated[0].like(samples, cache)
    held_out = [sample for dataset in evaluated for sample in dataset.samples]
    similar = similar_pairs(samples, held_out, {**prints, **fingerprints(read)})
    kept = [sample for sample in read.samples if keep_similar or sample.name not in similar]
    if similar and keep_similar:
        log.warning("%d clip(s) of %s resemble clips of val or test; the figures may be too high.", len(similar), root)
    elif similar:
        log.info("%d clip(s) of %s are left out: they resemble clips of val or test.", len(similar), root)
    if not kept:
        raise DataError(
            f"{root} has no videos but those that resemble clips of val or test. "
            "--allow-near-duplicates trains on them."
            if similar
            else f"{root} has no videos that are not in the data set already."
        )
    return kept
