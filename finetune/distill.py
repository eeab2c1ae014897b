"""A teacher's answers as targets: knowledge distillation (Hinton et al. 2015), the paper's future work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForVideoClassification, PreTrainedModel

from finetune.dataset import UNLABELLED, ClipDataset
from finetune.image_models import PYPI_PREFIX, FeatureMaps, feature_maps
from finetune.leaks import clip_hashes, resembling
from finetune.sources import Sample, find_clips, source_of
from finetune.splits import Splits
from hmdb.clips.clip import ClipSpec
from hmdb.errors import DataError, ModelError
from hmdb.model.checks import FAMILIES, read_json
from hmdb.model.hub import Checkpoint, find
from hmdb.model.loading import load
from hmdb.model.preprocess import PIXELS_FILE, PixelSpec, normalize

FRAME_COUNTS = {"num_frames", "frames_per_clip"}  # in the configuration of a model of videos
NO_LABEL = ""  # of a sample that nobody has labelled

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Who teaches, and how much it counts.

    Attributes:
        teacher: a Hub id or folder of any video classifier of transformers with the classes of the data, or
            of an image model, which then teaches what it sees in each frame (`finetune.lessons`).
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """A video classifier that teaches.

    Attributes:
        network: in eval mode.
        labels: of its logits.
        clip_spec, pixel_spec: how it takes its clips, which need not be the student's way.
    """

    network: PreTrainedModel
    labels: tuple[str, ...]
    clip_spec: ClipSpec
    pixel_spec: PixelSpec


def find_teacher(model: str, device: torch.device) -> Teacher | FeatureMaps:
    """Loads a teacher, of videos or of images.

    Raises:
        ModelError: it cannot be loaded.
    """
    if model.startswith(PYPI_PREFIX):
        return feature_maps(model, device)
    checkpoint = find(model)
    config = read_json(checkpoint.folder / "config.json", checkpoint.name)
    if not FRAME_COUNTS & config.keys():
        return feature_maps(model, device)
    if config.get("model_type") in FAMILIES:
        loaded = load(checkpoint.folder, device=str(device))
        return Teacher(
            network=loaded.network, labels=loaded.labels, clip_spec=loaded.clip_spec, pixel_spec=loaded.pixel_spec
        )
    return _other_family(checkpoint, device)


def _other_family(checkpoint: Checkpoint, device: torch.device) -> Teacher:
    """A teacher that hmdb itself cannot answer with: its frames are spread over the whole video."""
    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
        network = AutoModelForVideoClassification.from_pretrained(
            checkpoint.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"The teacher {checkpoint.name} cannot be loaded: {reason}") from error
    num_frames = next(getattr(config, name) for name in FRAME_COUNTS if hasattr(config, name))
    return Teacher(
        network=network.train(False).to(device),
        labels=tuple(config.id2label[index] for index in range(config.num_labels)),
        clip_spec=ClipSpec(num_frames=num_frames, sampler="equidistant"),
        pixel_spec=PixelSpec.from_dict(read_json(checkpoint.folder / PIXELS_FILE, checkpoint.name)),
    )


def find_more(folder: str, splits: Splits, evaluated: Sequence[ClipDataset], *, labelled: bool = False) -> list[Sample]:
    """More clips to train on, none of which the model is evaluated on.

    Clips that are one of val or test, by source video, content or near-duplicate frames, are left out.

    Args:
        folder: has videos at any depth, or, labelled, <class>/<video>.
        evaluated: the val and test clips as they were read.

    Raises:
        DataError: no such folder, nothing usable in it, or a label that is no class of the data.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"There is no folder {root} with more videos.")
    samples = [
        Sample(
            path,
            path.relative_to(root).parts[0] if labelled else NO_LABEL,
            f"{root.name}/{path.relative_to(root).as_posix()}",
            source_of(path.name, path.parent.name),
        )
        for path in find_clips(root)
    ]
    if unknown := sorted({sample.label for sample in samples} - {NO_LABEL, *splits.classes}):
        raise DataError(f"{root} has a folder {unknown[0]}, which is no class of {splits.data}.")
    known = {sample.path.resolve() for sample in splits.train}
    samples = [sample for sample in samples if sample.path.resolve() not in known]
    read = evaluated[0].like(samples)
    hashes = clip_hashes(*evaluated, read)
    held_out = [sample for dataset in evaluated for sample in dataset.samples]
    taken = resembling(samples, held_out, hashes)
    kept = [sample for sample in read.samples if sample.name not in taken]
    if taken:
        log.info("%d clip(s) of %s are left out: they are clips of val or test.", len(taken), root)
    if not kept:
        raise DataError(f"{root} has no videos that are not in the data set already.")
    return kept


@torch.inference_mode()
def teach(teacher: Teacher, dataset: ClipDataset, classes: Sequence[str], batch_size: int) -> np.ndarray:
    """The teacher's logits for each clip of a dataset: float32 (N, number of classes).

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
