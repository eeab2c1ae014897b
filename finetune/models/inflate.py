"""Initializes a TimeSformer from an image transformer, as the first TimeSformer was.

Each layer takes the weights of the image model's layer of the same depth. Temporal attention starts as a copy of the
spatial one behind a dense layer of zeros (Bertasius et al. 2021), so that the new network initially computes what the
image model does, frame by frame. A smaller network takes the first layers, and of each MLP the units with the largest
weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from finetune.models.image_models import transformer_weights
from hmdb.errors import ModelError


@dataclass(frozen=True)
class _Names:
    """The names on disk of a family's weights."""

    layer: str
    norms: tuple[str, str]
    mlp: tuple[str, str]
    scales: tuple[str, str] | None
    last_norm: str


FAMILIES = {
    "dinov2": _Names(
        "encoder.layer.{}.",
        ("norm1", "norm2"),
        ("mlp.fc1", "mlp.fc2"),
        ("layer_scale1.lambda1", "layer_scale2.lambda1"),
        "layernorm",
    ),
    "vit": _Names(  # and DeiT's
        "encoder.layer.{}.",
        ("layernorm_before", "layernorm_after"),
        ("intermediate.dense", "output.dense"),
        None,
        "layernorm",
    ),
}
PREFIX = re.compile(r"^(backbone|vit|deit|dinov2)\.")


def inflate(network: PreTrainedModel, model: str) -> str:
    """Initializes a TimeSformer with an image transformer of the same width and patch size.

    Args:
        network: a TimesformerForVideoClassification with divided attention, changed in place; its head and its
            time embeddings stay as they are.
        model: as `finetune.models.image_models.transformer_weights` takes it.

    Returns:
        The model's name.

    Raises:
        ModelError: the network is another one, or the model does not fit it.
    """
    weights, name = transformer_weights(model)
    weights = {PREFIX.sub("", key): value for key, value in weights.items()}
    config = network.config
    if config.model_type != "timesformer" or config.attention_type != "divided_space_time":
        raise ModelError(f"Only a TimeSformer with divided attention can start from an image model, {name} here.")
    family = FAMILIES["dinov2" if any("layer_scale1" in key for key in weights) else "vit"]
    state = network.state_dict()
    try:
        grown = dict(_embeddings(weights, state))
        for depth in range(config.num_hidden_layers):
            grown |= _layer(weights, family, depth, config.intermediate_size)
        for part in ("weight", "bias"):
            grown[f"timesformer.layernorm.{part}"] = weights[f"{family.last_norm}.{part}"]
    except KeyError as error:
        raise ModelError(f"{name} is not an image transformer of a known family: it has no weights {error}.") from error
    _enlarge_residual(grown, config.initializer_range)
    for key, value in grown.items():
        if state[key].shape != value.shape:
            raise ModelError(
                f"{name} does not fit the new network: {key} is {tuple(value.shape)} in one "
                f"and {tuple(state[key].shape)} in the other."
            )
    network.load_state_dict(state | grown)
    return name


def _embeddings(weights: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = "timesformer.embeddings."
    positions = weights["embeddings.position_embeddings"]  # (1, 1 + P, C), the class token's first
    wanted = state[f"{prefix}position_embeddings"].shape[1] - 1
    side, new_side = round((positions.shape[1] - 1) ** 0.5), round(wanted**0.5)
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(new_side, new_side), mode="bicubic", antialias=True)
    return {
        f"{prefix}cls_token": weights["embeddings.cls_token"],
        f"{prefix}position_embeddings": torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1),
        f"{prefix}patch_embeddings.projection.weight": weights["embeddings.patch_embeddings.projection.weight"],
        f"{prefix}patch_embeddings.projection.bias": weights["embeddings.patch_embeddings.projection.bias"],
        f"{prefix}time_embeddings": torch.zeros_like(state[f"{prefix}time_embeddings"]),
    }


def _enlarge_residual(grown: dict[str, torch.Tensor], usual: float) -> None:
    """Scales all that is added to the residual stream, so that its matrices have the usual standard deviation."""
    ends = re.compile(r"layer\.\d+\.(attention\.output|output|temporal)[._]dense\.(weight|bias)$")
    written = [key for key in grown if ".embeddings." in key or ends.search(key)]
    sizes = [grown[key].pow(2).mean().sqrt() for key in written if key.endswith("output.dense.weight")]
    factor = float(usual / torch.stack(sizes).mean())
    for key in written:
        grown[key] = grown[key] * factor


def _layer(
    weights: Mapping[str, torch.Tensor], family: _Names, depth: int, intermediate: int
) -> dict[str, torch.Tensor]:
    old, new = family.layer.format(depth), f"timesformer.encoder.layer.{depth}."
    grown = {}
    attention_scale, mlp_scale = (
        [weights[old + key] for key in family.scales] if family.scales else [torch.tensor(1.0)] * 2
    )
    for part in ("weight", "bias"):
        # a layer scale is a factor of each output, so the dense layer before it can hold it
        scale = attention_scale[..., None] if part == "weight" else attention_scale
        projections = [weights[f"{old}attention.attention.{key}.{part}"] for key in ("query", "key", "value")]
        for attention in ("attention", "temporal_attention"):
            grown[f"{new}{attention}.attention.qkv.{part}"] = torch.cat(projections)
            grown[f"{new}{attention}.output.dense.{part}"] = weights[f"{old}attention.output.dense.{part}"] * scale
        for norm, source in (
            ("layernorm_before", family.norms[0]),
            ("temporal_layernorm", family.norms[0]),
            ("layernorm_after", family.norms[1]),
        ):
            grown[f"{new}{norm}.{part}"] = weights[f"{old}{source}.{part}"]
    hidden = len(weights[f"{old}{family.norms[0]}.weight"])
    grown[f"{new}temporal_dense.weight"] = torch.zeros(hidden, hidden)
    grown[f"{new}temporal_dense.bias"] = torch.zeros(hidden)

    up, down = (weights[f"{old}{key}.weight"] for key in family.mlp)  # (units, C), (C, units)
    largest = (up.norm(dim=1) * down.norm(dim=0)).topk(min(intermediate, len(up))).indices.sort().values
    grown[f"{new}intermediate.dense.weight"] = up[largest]
    grown[f"{new}intermediate.dense.bias"] = weights[f"{old}{family.mlp[0]}.bias"][largest]
    grown[f"{new}output.dense.weight"] = down[:, largest] * mlp_scale[..., None]
    grown[f"{new}output.dense.bias"] = weights[f"{old}{family.mlp[1]}.bias"] * mlp_scale
    return grown
