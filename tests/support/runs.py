"""Training runs to compare and to interrupt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune.training.trainer import ClipTrainer


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, by name."""
    return load_file(folder / "model.safetensors")


def difference(one: Path, other: Path) -> float:
    """The largest difference between the weights of two checkpoints."""
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


class Interruption:
    """Raises an error in the Trainer at a training step."""

    def __init__(self, patch: pytest.MonkeyPatch, step: int, error: BaseException) -> None:
        original = ClipTrainer.compute_loss
        steps = iter(range(10**6))

        def compute_loss(trainer: ClipTrainer, model: torch.nn.Module, *args: Any, **options: Any) -> Any:
            if model.training and next(steps) == step:
                raise error
            return original(trainer, model, *args, **options)

        patch.setattr(ClipTrainer, "compute_loss", compute_loss)
