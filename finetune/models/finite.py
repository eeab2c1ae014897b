"""Weights that are no numbers any more are of no use: they are neither started from nor saved nor pushed."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from hmdb.errors import ModelError


def refuse_non_finite(weights: Mapping[str, torch.Tensor], name: str) -> None:
    """
    Args:
        name: of the checkpoint, for the message.

    Raises:
        ModelError: some weights are infinite or not a number.
    """
    broken = {key: int((~value.isfinite()).sum()) for key, value in weights.items() if not value.isfinite().all()}
    if broken:
        raise ModelError(
            f"{sum(broken.values())} weights of {name} are not finite ({next(iter(broken))}, for one): "
            "its training diverged. Train again with a lower --learning-rate."
        )
