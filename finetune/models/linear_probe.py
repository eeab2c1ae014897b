"""Linear probing: fits a linear classifier to frozen features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from transformers import PreTrainedModel

from finetune.data.dataset import ClipDataset
from finetune.models.features import features_of
from hmdb.model.preprocess import PixelSpec

MIN_STD = 1e-3  # of a feature, below which it is not informative


def probe(
    features: np.ndarray, labels: np.ndarray, classes: int, inverse_regularization: float, *, balanced: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fits a linear classifier.

    Args:
        features: float32 (N, C), standardised.
        labels: int (N,), below 0 for unlabelled clips.
        inverse_regularization: scikit-learn's C; a smaller value is a stronger penalty on the weights.
        balanced: weight classes by inverse frequency.

    Returns:
        float32 weight (classes, C) and bias (classes,).
    """
    known = labels >= 0
    weighting = "balanced" if balanced else None
    model = LogisticRegression(C=inverse_regularization, max_iter=1000, class_weight=weighting)
    model.fit(features[known], labels[known])
    weights, biases = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn gives the second class's only
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    weight, bias = torch.zeros(classes, features.shape[1]), torch.full((classes,), float(biases.min()))
    rows = torch.from_numpy(model.classes_)
    weight[rows], bias[rows] = torch.from_numpy(weights).float(), torch.from_numpy(biases).float()
    return weight, bias


@torch.inference_mode()
def fit_head(
    network: PreTrainedModel,
    dataset: ClipDataset,
    pixel_spec: PixelSpec,
    *,
    inverse_regularization: float,
    into_norm: bool = False,
    balanced: bool = False,
) -> None:
    """Fits the head of a network to its frozen features, before the whole network is trained.

    Training from a random head would distort pretrained features (Kumar et al. 2022, "Fine-tuning can distort
    pretrained features").

    Args:
        network: a classifier with one linear layer as its head, changed in place.
        dataset: its training clips.
        into_norm: fold the standardisation of the features into the last layer norm, for weights of another network,
            whose features differ widely in scale; else into the head, and the rest of the network stays as it is.
        inverse_regularization, balanced: as for `probe`.
    """
    head: Any = network.classifier
    with torch.autocast(network.device.type, torch.bfloat16):
        values, _, labels = features_of(network, dataset, pixel_spec, unlabelled=True)
    features = torch.from_numpy(values).to(network.device)  # (N, C)
    mean, std = features.mean(dim=0), features.std(dim=0) + MIN_STD
    weight, bias = probe(
        ((features - mean) / std).cpu().numpy(), labels, head.out_features, inverse_regularization, balanced=balanced
    )
    if into_norm:
        norm: Any = network.base_model.layernorm
        norm.weight.div_(std)
        norm.bias.sub_(mean).div_(std)
    else:
        weight = weight / std.cpu()
        bias = bias - weight @ mean.cpu()
    head.weight.copy_(weight)
    head.bias.copy_(bias)
