from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.config.data import DataSource
from finetune.data.dataset import UNLABELLED, ClipDataset
from finetune.data.splits import read_splits
from finetune.models.initial import load_initial
from finetune.models.linear_probe import fit_head, probe
from hmdb.model.preprocess import normalize


@pytest.mark.parametrize("classes", [2, 4])
def test_a_probe_separates_linear_classes(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), 30)
    features = (np.eye(6)[labels] * 4 + rng.normal(size=(len(labels), 6))).astype(np.float32)
    labels[:3] = UNLABELLED
    weight, bias = probe(features, labels, classes + 1, 1.0)
    assert weight.shape == (classes + 1, 6)
    answers = (torch.from_numpy(features) @ weight.T + bias).argmax(dim=1).numpy()
    assert (answers == labels)[3:].mean() > 0.9


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 60 + [1] * 6)
    features = (labels[:, None] * 1.0 + rng.normal(size=(66, 1))).astype(np.float32)
    recalls = []
    for balanced in (False, True):
        weight, bias = probe(features, labels, 2, 1.0, balanced=balanced)
        answers = (torch.from_numpy(features) @ weight.T + bias).argmax(dim=1).numpy()
        recalls.append((answers[labels == 1] == 1).mean())
    assert recalls[0] < recalls[1]
    assert recalls[1] > 0.5


def test_a_fitted_head_classifies_the_networks_features(dataset: Path) -> None:
    torch.manual_seed(0)
    splits = read_splits(DataSource(str(dataset)))
    origin = load_initial("scratch:tiny", splits.classes, sampler="equidistant", extension=None, paper_pixels=True)
    clips = ClipDataset(splits.train, splits.classes, origin.clip_spec, origin.pixel_spec)
    network = origin.network
    fit_head(network, clips, origin.pixel_spec, inverse_regularization=100.0, into_norm=True)
    pixels = torch.from_numpy(np.stack([clips.frames(index) for index in range(len(clips))]))
    with torch.inference_mode():
        values = normalize(pixels, origin.pixel_spec)
        tokens = network.base_model(values).last_hidden_state[:, 0]
        logits = network(values).logits
    assert tokens.mean(dim=0).abs().max() < 0.1  # bfloat16 found the mean
    assert 0.8 < tokens.std(dim=0).mean() < 1.2
    right = logits.argmax(dim=1) == torch.from_numpy(clips.class_ids)
    assert right.float().mean() > 0.8
