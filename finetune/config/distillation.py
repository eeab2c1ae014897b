"""Who teaches a student, and how much that counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from finetune.config.fields import check_options, option


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """A teacher, and how much it counts.

    Attributes:
        teacher: a Hub id or folder of any video classifier of transformers with the classes of the data, or
            of an image model, whose features of each frame are then the targets
            (`finetune.distillation.image_teacher`).
    """

    teacher: str
    temperature: float = option(2.0, "what the logits of both are divided by before they are compared", above=0)
    weight: float = option(0.7, "of the teacher's answers in the loss; the labels have the rest", least=0, most=1)
    features: float = option(1.0, "how much an image model's features count beside the answers", least=0)
    unlabelled: str = option("", "more videos, at any depth, that nobody has labelled", metavar="DIR")

    def __post_init__(self) -> None:
        check_options(self)

    def public(self) -> DistillationConfig:
        """For a report that others read: folders by their names alone."""
        return replace(
            self,
            teacher=Path(self.teacher).resolve().name if Path(self.teacher).is_dir() else self.teacher,
            unlabelled=Path(self.unlabelled).resolve().name if self.unlabelled else "",
        )
