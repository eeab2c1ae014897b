"""Further clips, labelled or not, that resemble none of those a run is evaluated on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from finetune.data.dataset import ClipDataset
from finetune.data.layouts import Sample, group_of
from finetune.data.leakage import fingerprints, similar_pairs
from finetune.data.splits import Splits
from hmdb.errors import DataError
from hmdb.video.discover import find_videos

log = logging.getLogger(__name__)

NO_LABEL = ""  # of a sample that nobody has labelled


def find_extra(
    folder: str,
    splits: Splits,
    evaluated: Sequence[ClipDataset],
    *,
    cache: Path | None = None,
    labelled: bool = False,
    keep_similar: bool = False,
) -> list[Sample]:
    """More clips to train on, none of which the model is evaluated on.

    Clips that are one of val or test, by source video, content or near-duplicate frames, are left out.

    Args:
        folder: has videos at any depth, or, labelled, <class>/<video>.
        evaluated: the val and test clips as they were read.
        cache: path of the file that keeps the clips, used again where it holds the same ones.
        keep_similar: keep also the clips that resemble those.

    Raises:
        DataError: no such folder, nothing usable in it, or a label that is no class of the data.
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
        if path != root  # as it is given back where nothing is in it
    ]
    if unknown := sorted({sample.label for sample in samples} - {NO_LABEL, *splits.classes}):
        raise DataError(f"{root} has a folder {unknown[0]}, which is no class of {splits.data}.")
    known = {sample.path.resolve() for sample in splits.train}
    samples = [sample for sample in samples if sample.path.resolve() not in known]
    read = evaluated[0].like(samples, cache)
    prints = fingerprints(*evaluated, read)
    held_out = [sample for dataset in evaluated for sample in dataset.samples]
    taken = similar_pairs(samples, held_out, prints)
    kept = [sample for sample in read.samples if keep_similar or sample.name not in taken]
    if taken and keep_similar:
        log.warning("%d clip(s) of %s resemble clips of val or test; the figures may be too high.", len(taken), root)
    elif taken:
        log.info("%d clip(s) of %s are left out: they resemble clips of val or test.", len(taken), root)
    if not kept:
        raise DataError(
            f"{root} has no videos but those that resemble clips of val or test. --keep-similar trains on them."
            if taken
            else f"{root} has no videos that are not in the data set already."
        )
    return kept
