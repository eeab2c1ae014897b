"""Features of training and validation clips -> the statistics that tell strangers (`hmdb.model.known`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from finetune.data.dataset import ClipDataset
from hmdb.model.known import Known, Scale, distances, energies, of_length_one
from hmdb.model.preprocess import PixelSpec, normalize

SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity, since features are many and clips few
KEEP = 0.95  # of the right answers stay; as many are likely enough, so at least 90 % do both


def fit_known(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    keep: float = KEEP,
) -> Known | None:
    """The statistics of a network.

    Args:
        train: features (N, C) of the training clips, which the classifier reads, and their classes (N,).
        val: features (M, C), logits (M, K) and classes (M,) of the validation clips.
        keep: share of the right answers on validation clips that are to count as known.

    Returns:
        None where a class has no training clip or no validation clip is answered right.
    """
    features, classes = train
    number = val[1].shape[1]
    right = val[1].argmax(axis=1) == val[2]
    if not right.any() or len(set(classes.tolist())) < number:
        return None
    directions = of_length_one(features)
    means = np.stack([directions[classes == index].mean(axis=0) for index in range(number)])
    rest = directions - means[classes]
    covariance = rest.T @ rest / len(rest)
    width = len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / width * np.eye(width)
    whitening = np.linalg.inv(np.linalg.cholesky(covariance))
    white_means = (means @ whitening.T).astype(np.float32)
    whitening = whitening.astype(np.float32)
    energy, distance = energies(val[1]), distances(val[0], white_means, whitening)
    scale = Scale(
        energy_mean=float(energy.mean()),
        energy_std=float(max(energy.std(), 1e-6)),
        distance_mean=float(distance.mean()),
        distance_std=float(max(distance.std(), 1e-6)),
        threshold=0.0,
    )
    known = Known(means=white_means, whitening=whitening, scale=scale)
    score = known.familiarity(val[0], val[1])[right]
    return replace(known, scale=replace(scale, threshold=float(np.quantile(score, 1 - keep, method="lower"))))


@torch.inference_mode()
def features_of(
    network: PreTrainedModel, dataset: ClipDataset, pixel_spec: PixelSpec
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the classifier reads of each labelled clip (N, C), the logits (N, K) and the classes (N,)."""
    network.train(False)
    parts: Any = network
    classes = dataset.class_ids
    features: list[torch.Tensor] = []
    logits = []
    handle = parts.classifier.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].float()))
    try:
        for index in np.flatnonzero(classes >= 0):
            pixels = torch.from_numpy(dataset.frames(int(index)))[None].to(network.device)
            logits.append(parts(pixel_values=normalize(pixels, pixel_spec)).logits.float())
    finally:
        handle.remove()
    return torch.cat(features).cpu().numpy(), torch.cat(logits).cpu().numpy(), classes[classes >= 0]


def known_of(network: PreTrainedModel, train: ClipDataset, val: ClipDataset, pixel_spec: PixelSpec) -> Known | None:
    """The statistics of a network that was trained on some clips and is chosen by others; see `fit_known`."""
    features, _, classes = features_of(network, train, pixel_spec)
    return fit_known((features, classes), features_of(network, val, pixel_spec))
