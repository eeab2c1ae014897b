"""Extracts the features that a network's classifier reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from finetune.data.dataset import ClipDataset
from hmdb.model.preprocess import PixelSpec, normalize


@torch.inference_mode()
def features_of(
    network: PreTrainedModel, dataset: ClipDataset, pixel_spec: PixelSpec, *, unlabelled: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features (N, C) and logits (N, K), both float32, and classes (N,) of the clips.

    Args:
        network: is left in eval mode.
        unlabelled: include the clips without a label.
    """
    network.train(False)
    parts: Any = network
    classes = dataset.class_ids
    rows = np.arange(len(classes)) if unlabelled else np.flatnonzero(classes >= 0)
    features: list[torch.Tensor] = []
    logits = []
    handle = parts.classifier.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].float()))
    try:
        for row in rows.tolist():
            pixels = torch.from_numpy(dataset.frames(row))[None].to(network.device)
            logits.append(parts(pixel_values=normalize(pixels, pixel_spec)).logits.float())
    finally:
        handle.remove()
    return torch.cat(features).cpu().numpy(), torch.cat(logits).cpu().numpy(), classes[rows]
