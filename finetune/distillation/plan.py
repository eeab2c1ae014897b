"""What a student learns from, and its loss: which teachers, how warm, how strongly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from finetune.data.dataset import UNLABELLED
from hmdb.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Who teaches, and how much it counts.

    Attributes:
        teacher: a Hub id or folder of any video classifier of transformers with the classes of the data, or
            of an image model, which then teaches what it sees in each frame (`finetune.distillation.features`).
        temperature: what the logits of both are divided by before they are compared; above 0.
        weight: of the teacher's answers in the loss, 0..1; the labels have the rest.
        features: how much an image model's features count beside the answers; at least 0.
        unlabelled: a folder with more videos, at any depth, that only the teacher has an opinion on.
    """

    teacher: str
    temperature: float = 2.0
    weight: float = 0.7
    features: float = 1.0
    unlabelled: str | None = None

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise DataError(f"temperature must be above 0, not {self.temperature}.")
        if not 0 <= self.weight <= 1:
            raise DataError(f"weight must be in 0..1, not {self.weight}.")
        if self.features < 0:
            raise DataError(f"features must be at least 0, not {self.features}.")

    def to_dict(self) -> dict[str, Any]:
        """For a report that others read: folders by their names alone."""
        return {
            **asdict(self),
            "teacher": Path(self.teacher).resolve().name if Path(self.teacher).is_dir() else self.teacher,
            "unlabelled": Path(self.unlabelled).resolve().name if self.unlabelled else None,
        }


def loss_with_teacher(
    logits: torch.Tensor, classes: torch.Tensor, targets: torch.Tensor, plan: Distillation, label_smoothing: float
) -> torch.Tensor:
    """Cross-entropy with the labels that there are, and divergence from the teacher.

    Args:
        logits, targets: (B, number of classes), the student's and the teacher's.
        classes: (B,), UNLABELLED where nobody knows.
    """
    labelled = (classes != UNLABELLED).sum().clamp(min=1)
    hard = functional.cross_entropy(
        logits, classes, ignore_index=UNLABELLED, label_smoothing=label_smoothing, reduction="sum"
    )
    soft = functional.kl_div(
        functional.log_softmax(logits / plan.temperature, dim=-1),
        functional.log_softmax(targets / plan.temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    # squared, so that the gradient of the soft part keeps its size (Hinton et al., section 2)
    return (1 - plan.weight) * hard / labelled + plan.weight * plan.temperature**2 * soft
