from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ResNetBackbone, ResNetConfig

from finetune.config.data import DataSource
from finetune.data.augment import ClipAugmentation
from finetune.data.dataset import ClipDataset
from finetune.data.splits import read_splits
from finetune.distillation.image_teacher import FeatureTargets, ProjectionHead, feature_targets
from finetune.models.image_models import feature_maps
from hmdb.clips.clip import ClipSpec
from hmdb.model.preprocess import PixelSpec

EVEN = ClipSpec(sampler="equidistant")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convolutional network that nobody has taught, which is enough to tell shapes apart."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic")
    ResNetBackbone(config).save_pretrained(folder)
    PixelSpec.paper(32).save_pretrained(folder)
    return folder


def test_maps_are_standardised_and_tell_the_classes(dataset: Path, teacher: Path, tmp_path: Path) -> None:
    splits = read_splits(DataSource(str(dataset)))
    clips = ClipDataset(splits.train, splits.classes, EVEN, PixelSpec.paper(16))
    model = feature_maps(str(teacher), torch.device("cpu"))
    targets = feature_targets(model, clips, EVEN, splits.classes, tmp_path / "maps.npy")
    assert targets.maps.shape == (28, 8, 4, 4, 32)
    pooled = targets.maps.astype(np.float32).mean(axis=(2, 3))
    assert abs(pooled.mean(axis=(0, 1))).max() < 0.02
    spread = pooled.std(axis=(0, 1))
    assert np.median(spread) == pytest.approx(1, abs=0.05)
    logits = torch.from_numpy(pooled.mean(axis=1)) @ targets.weight.T + targets.bias
    labels = torch.from_numpy(clips.class_ids)
    assert (logits.argmax(dim=1) == labels).float().mean() > 0.7


def test_the_feature_loss_is_zero_for_the_teachers_own_features() -> None:
    torch.manual_seed(0)
    maps = torch.randn(6, 3, 4, 4, 8)
    targets = FeatureTargets(maps=maps.half().numpy(), weight=torch.randn(2, 8), bias=torch.randn(2))
    projection = ProjectionHead(8, targets)
    projection.project = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity())
    view = ClipAugmentation.draw(6, 3)
    seen = view.of(maps, (4, 4))  # (B, T, h, w, C)
    tokens = torch.cat([torch.zeros(6, 1, 8), seen.permute(0, 2, 3, 1, 4).flatten(1, 3)], dim=1)
    loss, logits = projection(tokens, maps, view)
    assert float(loss) == pytest.approx(0, abs=1e-5)
    assert torch.allclose(logits, seen.mean(dim=(1, 2, 3)) @ targets.weight.T + targets.bias, atol=1e-5)
    elsewhere, _ = projection(tokens.roll(7, dims=1), maps, view)
    assert float(elsewhere) > 0.5
    opposite, _ = projection(-tokens, maps, view)
    assert float(opposite) == pytest.approx(4, abs=1e-4)
