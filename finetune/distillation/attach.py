"""A teacher -> what the training clips carry of it."""

from __future__ import annotations

from pathlib import Path

import torch

from finetune.config.distillation import DistillationConfig
from finetune.config.recipe import Recipe
from finetune.data.load import ClipData
from finetune.distillation.image_teacher import ProjectionHead, feature_targets
from finetune.distillation.video_teacher import Teacher, find_teacher, teach
from hmdb.clips.clip import ClipSpec
from hmdb.errors import DataError
from hmdb.machine import num_processes


def attach_teacher(
    plan: DistillationConfig,
    data: ClipData,
    recipe: Recipe,
    clip_spec: ClipSpec,
    hidden_size: int,
    cache: Path,
) -> tuple[ClipData, ProjectionHead | None]:
    """Adds to the training clips what the teacher says of them.

    Args:
        clip_spec, hidden_size: of the student.
        cache: a folder for the feature maps of an image model.

    Returns:
        The data, and with a teacher of images what the student's features are compared through.

    Raises:
        DataError, ModelError: the teacher cannot teach this run.
    """
    teacher = find_teacher(plan.teacher, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    classes = data.splits.classes
    if isinstance(teacher, Teacher):
        data.train.targets = teach(teacher, data.train, classes, recipe.batch_size)
        return data, None
    if num_processes() > 1:
        raise DataError("A teacher of images teaches in one process: leave out accelerate launch.")
    if recipe.augment == "none":
        raise DataError("A teacher of images teaches augmented clips: set --augment clips.")
    targets = feature_targets(teacher, data.train, clip_spec, classes, cache / "maps.npy")
    data.train.maps = targets.maps
    return data, ProjectionHead(hidden_size, targets)
