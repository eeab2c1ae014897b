"""Knowledge distillation: a Trainer whose loss compares a student with its teacher (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from finetune.config.distillation import DistillationConfig
from finetune.data.augment import ClipAugmentation
from finetune.data.dataset import UNLABELLED
from finetune.distillation.image_teacher import ProjectionHead
from finetune.training.trainer import ClipTrainer

PROJECTION_LEARNING_RATE = 1e-3  # at the peak of the schedule; a projection head is new, whatever the student is


class DistillationTrainer(ClipTrainer):
    """Trains a student on labels and on the targets that its training clips carry.

    Args:
        distillation: the temperature and the weights of the losses.
        projection: compares the student's features with an image teacher's; None for a teacher of videos.
    """

    def __init__(
        self, *, distillation: DistillationConfig, projection: ProjectionHead | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._distillation = distillation
        self._projection = projection.to(self.args.device) if projection else None
        self.needs_hidden_states = projection is not None

    def loss_of(self, outputs: Any, inputs: Mapping[str, Any], view: ClipAugmentation | None) -> torch.Tensor:
        """The distillation loss in training, with the feature loss of an image teacher; else the cross-entropy."""
        if not self._network.training:
            return super().loss_of(outputs, inputs, view)
        targets, feature_loss = inputs.get("targets"), 0.0
        if self._projection and view is not None:
            body: Any = self._network.base_model
            tokens = body.layernorm(outputs.hidden_states[-1])
            feature_loss, targets = self._projection(tokens, inputs["maps"], view)
            outputs.hidden_states = None
        assert targets is not None  # noqa: S101 - the clips of a student carry a teacher's targets or maps
        smoothing = self._recipe.label_smoothing
        loss = distillation_loss(outputs.logits, inputs["labels"], targets, self._distillation, smoothing)
        return loss + self._distillation.features * feature_loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        if self._projection:
            head = {"params": list(self._projection.parameters()), "lr": PROJECTION_LEARNING_RATE, "weight_decay": 0.0}
            optimizer.add_param_group(head)
        return optimizer

    def _training_state(self) -> dict[str, torch.nn.Module]:
        return super()._training_state() | ({"projection": self._projection} if self._projection else {})


def distillation_loss(
    logits: torch.Tensor,
    classes: torch.Tensor,
    targets: torch.Tensor,
    config: DistillationConfig,
    label_smoothing: float,
) -> torch.Tensor:
    """Cross-entropy on labelled clips plus the KL divergence from the teacher's soft targets on all clips.

    Args:
        logits, targets: (B, number of classes), the student's and the teacher's.
        classes: (B,), UNLABELLED for clips without a label.
    """
    labelled = (classes != UNLABELLED).sum().clamp(min=1)
    hard = functional.cross_entropy(
        logits, classes, ignore_index=UNLABELLED, label_smoothing=label_smoothing, reduction="sum"
    )
    soft = functional.kl_div(
        functional.log_softmax(logits / config.temperature, dim=-1),
        functional.log_softmax(targets / config.temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    # squared, so that the gradient of the soft part keeps its size (Hinton et al., section 2)
    return (1 - config.weight) * hard / labelled + config.weight * config.temperature**2 * soft
