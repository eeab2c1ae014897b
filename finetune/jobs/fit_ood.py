"""Fits the out-of-distribution detector of a saved checkpoint and writes it into its folder."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.config.data import DataSource
from finetune.data.load import ClipData, load_clips
from finetune.data.overlap import SAME_SPLITS, training_overlap
from finetune.data.splits import read_splits
from finetune.evaluation.calibrate import ACCEPT_RATE
from finetune.evaluation.ood import OodFigures, fit_ood_detector
from finetune.models.features import features_of
from finetune.training.checkpoint import write_ood_detector
from hmdb.errors import DataError, ModelError
from hmdb.model.hub import resolve_checkpoint
from hmdb.model.loading import LoadedModel, load_checkpoint
from hmdb.model.ood import OodDetector


@dataclass(frozen=True, kw_only=True)
class OodReport:
    """The acceptance rates of a detector.

    Attributes:
        clips: number of train and val clips whose features it was fitted to.
        val: out-of-fold figures of the val clips.
        test_accepted: fraction of the correct test predictions that count as in-distribution, 0..1.
    """

    clips: int
    val: OodFigures
    test_accepted: float


def fit_ood(model: str, source: DataSource, *, accept_rate: float | None = None, seed: int = 0) -> OodReport:
    """Fits the out-of-distribution detector of a checkpoint and writes it into its folder.

    Args:
        model: a folder.
        source: the data that it was trained and selected on, with the further training clips, if any.
        accept_rate: fraction of the correct predictions to accept as in-distribution. Videos that were recorded
            differently from the data need nearly 1. ACCEPT_RATE if not given.

    Raises:
        DataError: data and checkpoint do not fit, it was trained on val or test clips, it is on the Hub, or no
            detector can be fitted.
    """
    accept_rate = ACCEPT_RATE if accept_rate is None else accept_rate
    if not 0 < accept_rate <= 1:
        raise DataError(f"--accept-rate must be above 0 and at most 1, not {accept_rate:g}.")
    loaded = load_checkpoint(resolve_checkpoint(model))
    name, folder = loaded.checkpoint.name, loaded.checkpoint.folder
    if loaded.head is not None:
        raise ModelError(f"{name} has been taught, with a detector of its own: add negatives and teach it again.")
    if loaded.checkpoint.revision:
        raise DataError(f"{name} is on the Hub. A detector can be written only into a checkpoint in a folder.")
    splits = read_splits(source, seed)
    if tuple(splits.classes) != tuple(loaded.labels):
        raise DataError(f"{splits.data} does not have the classes of {name}, in their order.")
    if overlap := training_overlap(folder, splits.val, chosen_too=False) or training_overlap(folder, splits.test):
        raise DataError(f"{name} {overlap}, so it cannot be measured on them. {SAME_SPLITS}")
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
        detector, figures = add_detector(loaded, data, accept_rate)
        test = _accepted(detector, features_of(loaded.network, data.test, loaded.pixel_spec))
        clips = sum(int((part.class_ids >= 0).sum()) for part in (data.train, data.val))
        return OodReport(clips=clips, val=figures, test_accepted=test)


def add_detector(
    loaded: LoadedModel, data: ClipData, accept_rate: float = ACCEPT_RATE
) -> tuple[OodDetector, OodFigures]:
    """Fits the detector of a checkpoint in a folder and writes it there.

    Raises:
        NoDetectorError: none can be fitted; the reason in one sentence.
        DataError: it cannot be written.
    """
    train, val = (features_of(loaded.network, part, loaded.pixel_spec) for part in (data.train, data.val))
    detector, figures = fit_ood_detector(train, val, accept_rate=accept_rate)
    write_ood_detector(loaded.checkpoint.folder, detector)
    return detector, figures


def _accepted(detector: OodDetector, clips: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    """The fraction of the correct predictions that count as in-distribution."""
    features, logits, classes = clips
    right = logits.argmax(axis=1) == classes
    return float((detector.score(features, logits)[right] >= 0).mean()) if right.any() else 0.0
