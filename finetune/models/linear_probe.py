"""Linear probing: what a linear layer makes of features that stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from transformers import PreTrainedModel

from finetune.data.dataset import ClipDataset
from finetune.models.features import features_of
from hmdb.model.preprocess import PixelSpec

SMALLEST_SPREAD = 1e-3  # of a feature, below which it says nothing


def probe(
    features: np.ndarray, labels: np.ndarray, classes: int, strength: float, *, balanced: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """A linear classifier of features.

    Args:
        features: float32 (N, C), standardised.
        labels: int (N,), below 0 where nobody knows.
        strength: scikit-learn's C: the smaller, the smaller the weights.
        balanced: each class counts alike, however few clips it has.

    Returns:
        float32 weight (classes, C) and bias (classes,).
    """
    known = labels >= 0
    weighted = "balanced" if balanced else None
    found = LogisticRegression(C=strength, max_iter=1000, class_weight=weighted).fit(features[known], labels[known])
    weights, biases = found.coef_, found.intercept_
    if len(found.classes_) == 2:  # scikit-learn gives the second class's alone
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    weight, bias = torch.zeros(classes, features.shape[1]), torch.full((classes,), float(biases.min()))
    rows = torch.from_numpy(found.classes_)
    weight[rows], bias[rows] = torch.from_numpy(weights).float(), torch.from_numpy(biases).float()
    return weight, bias


@torch.inference_mode()
def fit_head(
    network: PreTrainedModel,
    dataset: ClipDataset,
    pixel_spec: PixelSpec,
    *,
    strength: float,
    into_norm: bool = False,
    balanced: bool = False,
) -> None:
    """Fits the head of a network to features that it has already, before all of it is trained.

    A new head on features from elsewhere would send noise back through them (Kumar et al. 2022, "Fine-tuning can
    distort pretrained features").

    Args:
        network: a classifier with one linear layer as its head, changed in place.
        dataset: its training clips.
        into_norm: what the head reads is standardised in the last layer norm, for features of another network, whose
            sizes differ widely; else in the head itself, and the rest of the network stays as it is.
        strength, balanced: as for `probe`.
    """
    head: Any = network.classifier
    with torch.autocast(network.device.type, torch.bfloat16):
        read, _, labels = features_of(network, dataset, pixel_spec, unlabelled=True)
    features = torch.from_numpy(read).to(network.device)  # (N, C)
    mean, spread = features.mean(dim=0), features.std(dim=0) + SMALLEST_SPREAD
    weight, bias = probe(
        ((features - mean) / spread).cpu().numpy(), labels, head.out_features, strength, balanced=balanced
    )
    if into_norm:
        norm: Any = network.base_model.layernorm
        norm.weight.div_(spread)
        norm.bias.sub_(mean).div_(spread)
    else:
        weight = weight / spread.cpu()
        bias = bias - weight @ mean.cpu()
    head.weight.copy_(weight)
    head.bias.copy_(bias)
