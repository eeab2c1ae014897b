"""Where the figures of a run go while it trains: TensorBoard's files, trackio, Weights & Biases."""

from __future__ import annotations

from collections.abc import Collection
from importlib.util import find_spec

from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from hmdb.errors import DataError


def refuse_missing(names: Collection[str]) -> None:
    """
    Raises:
        DataError: the package of a reporter is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise DataError(f"--report-to {name} needs a package that is not here: pip install {name}")


def reporters(names: Collection[str]) -> list[TrainerCallback]:
    """transformers' own callbacks for all but TensorBoard, which has clips and matrices beside the scalars here."""
    return [INTEGRATION_TO_CALLBACK[name]() for name in names if name != "tensorboard"]
