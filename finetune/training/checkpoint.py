"""A network on disk, written whole or not at all."""

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
from hmdb.model.ood import OOD_KEY, OodDetector
from hmdb.model.precision_cost import MAX_TOP1_LOSS, PrecisionCost
from hmdb.model.preprocess import PixelSpec
from hmdb.model.validation import read_json


def save_checkpoint(
    network: PreTrainedModel,
    clip_spec: ClipSpec,
    pixel_spec: PixelSpec,
    output: Path,
    *,
    calibrated: Calibration | None = None,
    known: OodDetector | None = None,
    half: bool = False,
) -> None:
    """Writes a checkpoint that `hmdb` and transformers load.

    It is written beside its place and then moved, so that a full disk leaves no half of it.

    Args:
        calibrated: how its logits become probabilities, if that is known.
        known: what tells clips that show none of its labels, if that is known.
        half: store the weights as float16.

    Raises:
        ModelError: some weights are not finite.
    """
    refuse_non_finite(network.state_dict(), output.name)
    setattr(network.config, CLIP_SPEC_KEY, clip_spec.to_dict())
    if calibrated:
        setattr(network.config, CALIBRATION_KEY, calibrated.to_dict())
    for key in (*MAX_TOP1_LOSS, OOD_KEY):  # what was measured of the weights that these began as
        vars(network.config).pop(key, None)
    with _staged(output) as staging:
        if known:
            setattr(network.config, OOD_KEY, known.save(staging))
        state = {name: value.half() for name, value in network.state_dict().items()} if half else None
        network.save_pretrained(staging, state_dict=state)
        pixel_spec.save(staging)


def copy_checkpoint(checkpoint: Path, pixel_spec: PixelSpec, output: Path) -> None:
    """Copies one of the Trainer's checkpoints, without what only the Trainer needs."""
    with _staged(output) as staging:
        for path in (checkpoint / "config.json", *checkpoint.glob("*.safetensors*")):
            shutil.copy2(path, staging)
        pixel_spec.save(staging)


def keep_rounding_cost(folder: Path, dtype: str, cost: PrecisionCost) -> None:
    """Writes what a precision costs a checkpoint into its config.json; the rest of it stays.

    Raises:
        DataError: it cannot be written.
    """
    _keep(folder, dtype, cost.to_dict())


def keep_calibration(folder: Path, calibration: Calibration) -> None:
    """Writes how a checkpoint's logits become probabilities into its config.json; the rest of it stays.

    Raises:
        DataError: it cannot be written.
    """
    _keep(folder, CALIBRATION_KEY, calibration.to_dict())


def keep_known(folder: Path, known: OodDetector) -> None:
    """Writes what tells strangers into a checkpoint; the rest of it stays.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with _staged(folder) as staging:
            scale = known.save(staging)
    except OSError as error:
        raise DataError(f"{folder} cannot be written to: {error.strerror}.") from error
    _keep(folder, OOD_KEY, scale)


def _keep(folder: Path, key: str, values: dict[str, Any]) -> None:
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
    """A folder whose files are moved to `target` once all are written."""
    staging = target / ".saving"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        for path in sorted(staging.iterdir()):
            path.replace(target / path.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
