"""Computes a video classifier's logits as targets of distillation (Hinton et al. 2015), the paper's future work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from finetune.data.dataset import ClipDataset
from finetune.models.image_models import PYPI_PREFIX, FeatureMaps, feature_maps
from hmdb.clips.clip import ClipSpec
from hmdb.errors import DataError
from hmdb.model.hub import resolve_checkpoint
from hmdb.model.loading import load
from hmdb.model.preprocess import PixelSpec, normalize
from hmdb.model.validation import read_json

FRAME_COUNTS = {"num_frames", "frames_per_clip"}  # keys in the configuration of a video model

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """A video classifier that teaches a student.

    Attributes:
        network: in eval mode.
        labels: of its logits.
        clip_spec, pixel_spec: its sampling and preprocessing, which may differ from the student's.
    """

    network: PreTrainedModel
    labels: tuple[str, ...]
    clip_spec: ClipSpec
    pixel_spec: PixelSpec


def find_teacher(model: str, device: torch.device) -> Teacher | FeatureMaps:
    """Loads a teacher: a video classifier or an image model.

    Raises:
        ModelError: it cannot be loaded.
    """
    if model.startswith(PYPI_PREFIX):
        return feature_maps(model, device)
    checkpoint = resolve_checkpoint(model)
    config = read_json(checkpoint.folder / "config.json", checkpoint.name)
    if not FRAME_COUNTS & config.keys():
        return feature_maps(model, device)
    loaded = load(checkpoint.folder, device=str(device))
    return Teacher(
        network=loaded.network, labels=loaded.labels, clip_spec=loaded.clip_spec, pixel_spec=loaded.pixel_spec
    )


@torch.inference_mode()
def teach(teacher: Teacher, dataset: ClipDataset, classes: Sequence[str], batch_size: int) -> np.ndarray:
    """Computes the teacher's logits for each clip: float32 (N, number of classes).

    Raises:
        DataError: the teacher does not know the classes, or cannot read a clip that the student can.
    """
    unknown = [label for label in classes if label not in teacher.labels]
    if unknown:
        raise DataError(
            f"The teacher does not know {len(unknown)} of the {len(classes)} classes: {', '.join(unknown[:3])}. "
            "Fine-tune it on this data first."
        )
    columns = [teacher.labels.index(label) for label in classes]
    clips = ClipDataset(dataset.samples, classes, teacher.clip_spec, teacher.pixel_spec)
    if clips.broken:
        raise DataError(f"The teacher cannot read {next(iter(clips.broken.values()))}")
    rows = []
    for first in range(0, len(clips), batch_size):
        indices = range(first, min(first + batch_size, len(clips)))
        pixels = torch.from_numpy(np.stack([clips.frames(index) for index in indices]))
        values = normalize(pixels.to(teacher.network.device), teacher.pixel_spec)  # (B, T, 3, H, W)
        rows.append(teacher.network(pixel_values=values).logits.float().cpu().numpy()[:, columns])
    return np.concatenate(rows)
