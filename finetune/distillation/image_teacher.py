"""Distils an image model: its feature maps of each frame, and a linear probe on them.

The maps are computed once, on whole frames. In training they are cropped, flipped and reversed with the pixels, so that
the student predicts, for each of its patches, the teacher's features at that place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from finetune.data.augment import ClipAugmentation
from finetune.data.dataset import ClipDataset
from finetune.models.image_models import FeatureMaps
from finetune.models.linear_probe import MIN_STD, probe
from hmdb.clips.clip import ClipSpec
from hmdb.errors import DataError
from hmdb.model.preprocess import normalize

TEACHER_C = 0.01  # scikit-learn's C; a strong penalty, since there are more features than clips


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureTargets:
    """A teacher's features of the training clips, and a linear probe on them.

    Attributes:
        maps: float16 (N, T, h, w, C), standardised by channel.
        weight, bias: float32 (number of classes, C) and (number of classes,), logits from a mean over the
            maps of a clip.
    """

    maps: np.ndarray
    weight: torch.Tensor
    bias: torch.Tensor


@torch.inference_mode()
def feature_targets(
    teacher: FeatureMaps, dataset: ClipDataset, clip_spec: ClipSpec, classes: Sequence[str], file: Path
) -> FeatureTargets:
    """Computes the teacher's feature maps of each frame of each clip, and fits a linear probe to them.

    Args:
        clip_spec: the student's sampling; the teacher gets the same frames.
        file: holds the maps until the run ends.

    Raises:
        DataError: the teacher cannot read a clip that the student can.
    """
    clips = ClipDataset(dataset.samples, classes, clip_spec, teacher.pixel_spec)
    if clips.broken:
        raise DataError(f"The teacher cannot read {next(iter(clips.broken.values()))}")
    device = next(teacher.network.parameters()).device
    maps: np.ndarray | None = None
    for index in range(len(clips)):
        pixels = normalize(torch.from_numpy(clips.frames(index))[None].to(device), teacher.pixel_spec)[0]
        with torch.autocast(device.type, torch.bfloat16):
            features = teacher.network(pixels.contiguous(memory_format=torch.channels_last))  # (T, C, h, w)
        values = features.float().permute(0, 2, 3, 1).cpu().numpy()
        if maps is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            maps = np.lib.format.open_memmap(file, "w+", np.float16, (len(clips), *values.shape))
        maps[index] = values
    assert maps is not None  # noqa: S101 - a data set is not empty
    pooled = np.stack([clip.mean(axis=(1, 2), dtype=np.float32) for clip in maps])  # (N, T, C)
    mean = pooled.mean(axis=(0, 1))
    std = pooled.std(axis=(0, 1)) + MIN_STD
    for clip in maps:
        clip[:] = (clip - mean) / std
    weight, bias = probe((pooled.mean(axis=1) - mean) / std, dataset.class_ids, len(classes), TEACHER_C)
    return FeatureTargets(maps=maps, weight=weight, bias=bias)


class ProjectionHead(nn.Module):
    """Projects the student's features to the teacher's width, for the feature loss; dropped after training.

    Args:
        hidden: width of the student.
        targets: of the teacher.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, hidden: int, targets: FeatureTargets) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.BatchNorm1d(hidden), nn.Linear(hidden, targets.maps.shape[-1]))
        self.register_buffer("weight", targets.weight.clone())  # made in inference mode
        self.register_buffer("bias", targets.bias.clone())

    def forward(
        self, tokens: torch.Tensor, maps: torch.Tensor, view: ClipAugmentation
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes the feature loss.

        Args:
            tokens: (B, 1 + P * T', hidden), the student's last hidden states, patch by patch.
            maps: float16 (B, T, h, w, C), of the whole clips.
            view: the augmentation of the student's clips.

        Returns:
            The loss, 0..4: one minus the cosine of each patch's features, plus the same of the clip's; and the
            teacher's logits (B, number of classes) for the augmented clips.
        """
        moments = view.moments.shape[1]
        side = round(((tokens.shape[1] - 1) / moments) ** 0.5)
        theirs = view.of(maps, (side, side)).flatten(2, 3).transpose(1, 2)  # (B, P, T', C)
        ours = self.project(tokens[:, 1:].flatten(0, 1)).float().view(theirs.shape)
        patches = 1 - functional.cosine_similarity(ours, theirs, dim=-1).mean()
        pooled = theirs.mean(dim=(1, 2))
        clips = 1 - functional.cosine_similarity(ours.mean(dim=(1, 2)), pooled, dim=-1).mean()
        return patches + clips, functional.linear(pooled, self.weight, self.bias)
