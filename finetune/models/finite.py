"""Refuses weights with NaN or infinity."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from hmdb.errors import ModelError


def refuse_non_finite(weights: Mapping[str, torch.Tensor], name: str) -> None:
    """Checks the weights of a checkpoint.

    Args:
        name: of the checkpoint, for the message.

    Raises:
        ModelError: some are NaN or infinite.
    """
    broken = {key: int((~value.isfinite()).sum()) for key, value in weights.items() if not value.isfinite().all()}
    if broken:
        raise ModelError(
            f"{sum(broken.values())} weights of {name} are not finite (for example in {next(iter(broken))}): "
            "its training diverged. Train again with a lower --learning-rate."
        )
