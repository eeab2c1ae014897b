"""A checkpoint + data -> what tells strangers from its actions, beside its weights."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.config.data import DataSource
from finetune.data.load import load_clips
from finetune.data.overlap import SAME_SPLITS, training_overlap
from finetune.data.splits import read_splits
from finetune.evaluation.calibrate import KEEP
from finetune.evaluation.ood import fit_ood_detector
from finetune.models.features import features_of
from finetune.training.checkpoint import keep_known
from hmdb.errors import DataError
from hmdb.model.hub import resolve_checkpoint
from hmdb.model.loading import load_checkpoint


@dataclass(frozen=True, kw_only=True)
class OodReport:
    """What was fitted, and how it does on clips that took no part in it.

    Attributes:
        clips: whose features the statistics are of.
        val_kept, test_kept: the share of the right answers on val, by which the threshold was chosen, and on test
            that count as known; 0..1.
    """

    clips: int
    val_kept: float
    test_kept: float


def fit_ood(model: str, source: DataSource, *, keep: float | None = None, seed: int = 0) -> OodReport:
    """Fits the statistics of `hmdb.model.ood` and writes them into a checkpoint's folder.

    Args:
        model: a folder.
        source: the data that it was trained and chosen on, with the further clips if there were such.
        keep: share of the right answers on val that are to count as known. Videos that differ from the data in
            how they were made, and not in what they show, want nearly all. KEEP, if not given.

    Raises:
        DataError: data and checkpoint do not fit, val or test have clips that it was trained on, the checkpoint is on
            the Hub, or there is nothing to fit.
    """
    keep = KEEP if keep is None else keep
    if not 0 < keep <= 1:
        raise DataError(f"--accept-rate is a share above 0 and at most 1, not {keep:g}.")
    loaded = load_checkpoint(resolve_checkpoint(model))
    name = loaded.checkpoint.name
    if loaded.checkpoint.revision:
        raise DataError(f"{name} is on the Hub. Statistics are written into a checkpoint that is a folder.")
    splits = read_splits(source, seed)
    if tuple(splits.classes) != tuple(loaded.labels):
        raise DataError(f"{splits.data} does not have the classes of {name}, in their order.")
    folder = loaded.checkpoint.folder
    if told := training_overlap(folder, splits.val, chosen_too=False) or training_overlap(folder, splits.test):
        raise DataError(f"{name} {told}, and what it has seen tells nothing of new videos. {SAME_SPLITS}")
    with tempfile.TemporaryDirectory(prefix="hmdb-clips-") as cache:
        data = load_clips(
            splits,
            source,
            loaded.clip_spec,
            loaded.pixel_spec,
            seed=seed,
            cache=Path(cache),
            progress=sys.stderr.isatty(),
        )
        train, val, test = (
            features_of(loaded.network, part, loaded.pixel_spec) for part in (data.train, data.val, data.test)
        )
    known = fit_ood_detector((train[0], train[2]), val, keep=keep)
    if known is None:
        raise DataError(f"{name} answers no val clip right, or a class has no training clip: nothing can be fitted.")
    keep_known(loaded.checkpoint.folder, known)

    def kept(features: np.ndarray, logits: np.ndarray, classes: np.ndarray) -> float:
        right = logits.argmax(axis=1) == classes
        return float((known.score(features, logits)[right] >= 0).mean()) if right.any() else 0.0

    return OodReport(clips=len(train[0]), val_kept=kept(*val), test_kept=kept(*test))
