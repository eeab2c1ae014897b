"""Cross-entropy with the labels and divergence from a teacher (Hinton et al. 2015)."""

from __future__ import annotations

import torch
from torch.nn import functional

from finetune.config.distillation import DistillationConfig
from finetune.data.dataset import UNLABELLED


def loss_with_teacher(
    logits: torch.Tensor, classes: torch.Tensor, targets: torch.Tensor, plan: DistillationConfig, label_smoothing: float
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
