"""Writes checkpoints: complete, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from finetune.models.finite import refuse_non_finite
from hmdb.clips.clip import ClipSpec
from hmdb.errors import DataError
from hmdb.model.calibration import Calibration
from hmdb.model.loading import CALIBRATION_KEY, CLIP_SPEC_KEY
from hmdb.model.ood import OOD_FILE, OOD_KEY, OodDetector
from hmdb.model.precision_cost import MAX_TOP1_LOSS, PrecisionCost
from hmdb.model.preprocess import PixelSpec
from hmdb.model.validation import read_json
from hmdb.teaching.storage import ARRAYS_FILE, HEAD_FILE


def save_checkpoint(
    network: PreTrainedModel,
    clip_spec: ClipSpec,
    pixel_spec: PixelSpec,
    output: Path,
    *,
    half: bool = False,
) -> None:
    """Writes a checkpoint that `hmdb` and transformers load.

    The files are staged and then moved into place, so that a full disk leaves no partial checkpoint.

    Args:
        half: store the weights as float16.

    Raises:
        ModelError: some weights are not finite.
    """
    refuse_non_finite(network.state_dict(), output.name)
    setattr(network.config, CLIP_SPEC_KEY, clip_spec.to_dict())
    for key in (*MAX_TOP1_LOSS, CALIBRATION_KEY, OOD_KEY):  # measurements of the weights that training started from
        vars(network.config).pop(key, None)
    with _staged(output) as staging:
        state = {name: value.half() for name, value in network.state_dict().items()} if half else None
        network.save_pretrained(staging, state_dict=state)
        pixel_spec.save_pretrained(staging)
        for stale in (OOD_FILE, ARRAYS_FILE, HEAD_FILE):  # of other weights
            (output / stale).unlink(missing_ok=True)


def copy_checkpoint(checkpoint: Path, pixel_spec: PixelSpec, output: Path) -> None:
    """Copies one of the Trainer's checkpoints, without the files that only resuming needs."""
    with _staged(output) as staging:
        for path in (checkpoint / "config.json", *checkpoint.glob("*.safetensors*")):
            shutil.copy2(path, staging)
        pixel_spec.save_pretrained(staging)
        for stale in (OOD_FILE, ARRAYS_FILE, HEAD_FILE):  # of other weights
            (output / stale).unlink(missing_ok=True)


def write_precision_cost(folder: Path, dtype: str, cost: PrecisionCost) -> None:
    """Writes the measured cost of a precision into the config.json of a checkpoint.

    Raises:
        DataError: it cannot be written.
    """
    _update_config(folder, dtype, cost.to_dict())


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Writes the calibration into the config.json of a checkpoint.

    Raises:
        DataError: it cannot be written.
    """
    _update_config(folder, CALIBRATION_KEY, calibration.to_dict())


def write_ood_detector(folder: Path, detector: OodDetector) -> None:
    """Writes the out-of-distribution detector into a checkpoint.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with _staged(folder) as staging:
            scale = detector.save(staging)
    except OSError as error:
        raise DataError(f"{folder} cannot be written to: {error.strerror}.") from error
    _update_config(folder, OOD_KEY, scale)


def _update_config(folder: Path, key: str, values: dict[str, Any]) -> None:
    path = folder / "config.json"
    config = read_json(path, folder.name) | {key: values}
    part = path.with_name(f".{path.name}")
    try:
        part.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Yields a folder whose files are moved to `target` once all are written."""
    staging = target / ".saving"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        for path in sorted(staging.iterdir()):
            path.replace(target / path.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
