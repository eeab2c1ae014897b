"""Settings of distillation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from finetune.config.fields import check_options, option


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """The teacher of a student, and its share of the loss.

    Attributes:
        teacher: a Hub id or folder of any video classifier of transformers with the classes of the data, or
            of an image model, whose features of each frame are then the targets
            (`finetune.distillation.image_teacher`).
    """

    teacher: str = option(
        "", "a video classifier, or an image model: Hub id, folder or pypi:NAME", metavar="MODEL", required=True
    )
    temperature: float = option(2.0, "softmax temperature of teacher and student", above=0)
    weight: float = option(
        0.7, "weight of the teacher's predictions in the loss; the rest is the labels'", least=0, most=1
    )
    features: float = option(1.0, "weight of an image model's features in the loss", least=0)
    unlabelled: str = option("", "folder of unlabelled videos, at any depth, to train on, too", metavar="DIR")

    def __post_init__(self) -> None:
        check_options(self)

    def public(self) -> DistillationConfig:
        """Returns the settings for a published report: folders without the path to them."""
        return replace(
            self,
            teacher=Path(self.teacher).resolve().name if Path(self.teacher).is_dir() else self.teacher,
            unlabelled=Path(self.unlabelled).resolve().name if self.unlabelled else "",
        )
