"""Knowledge distillation: trains a student with a teacher's targets on its training clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.recipe import Recipe
from finetune.data.load import ClipData
from finetune.distillation.image_teacher import ProjectionHead, feature_targets
from finetune.distillation.trainer import DistillationTrainer
from finetune.distillation.video_teacher import Teacher, find_teacher, teach
from finetune.jobs.train import train
from finetune.models.initial import InitialModel
from finetune.report.schema import Report
from hmdb.errors import DataError
from hmdb.machine import num_processes


def distill(
    distillation: DistillationConfig, recipe: Recipe, source: DataSource, output: Path, **options: Any
) -> Report:
    """Trains a student as `finetune.jobs.train.train` does, which takes the options and whose errors it raises.

    Raises:
        DataError, ModelError: the teacher cannot teach this run.
    """
    if recipe.mixup or recipe.class_weights != "none":
        raise DataError("Distillation needs whole clips of equal weight: leave out --mixup-alpha and --class-weights.")

    def add_targets(data: ClipData, student: InitialModel, cache: Path) -> dict[str, Any]:
        """Adds the teacher's targets to the training clips; returns the further arguments of the trainer."""
        teacher = find_teacher(distillation.teacher, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        classes = data.splits.classes
        if isinstance(teacher, Teacher):
            data.train.targets = teach(teacher, data.train, classes, recipe.batch_size)
            return {"distillation": distillation}
        if num_processes() > 1:
            raise DataError("An image teacher needs a single process: leave out accelerate launch.")
        if recipe.augment == "none":
            raise DataError("An image teacher needs augmented clips: set --augment clips.")
        targets = feature_targets(teacher, data.train, student.clip_spec, classes, cache / "maps.npy")
        data.train.maps = targets.maps
        projection = ProjectionHead(student.network.config.hidden_size, targets)
        return {"distillation": distillation, "projection": projection}

    return train(
        recipe,
        source,
        output,
        trainer_class=DistillationTrainer,
        prepare_clips=add_targets,
        distillation=distillation,
        **options,
    )
