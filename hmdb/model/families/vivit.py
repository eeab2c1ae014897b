"""ViViT (Arnab et al. 2021), its first model: all tokens attend to one another."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.activations import FastGELUActivation

from hmdb.clips.clip import ClipSpec
from hmdb.model.families.base import Family, Grid


class ViViT(Family):
    name = "ViViT"
    clip_spec = ClipSpec(num_frames=32, stride=2, sampler="centered")
    processor = "VivitImageProcessor"

    def grid(self, config: Any) -> Grid:
        frames, height, width = config.tubelet_size
        side = config.image_size
        return Grid(config.num_frames // frames, side // height, side // width, frames, (height, width))

    def layers(self, network: PreTrainedModel) -> nn.ModuleList:
        base: Any = network.base_model
        layers: nn.ModuleList = base.layers
        return layers

    def attentions(self, layer: Any) -> list[nn.Module]:
        return [layer.attention]

    def simplify(self, layer: Any) -> None:
        """The activation is one operation, not eight."""
        if isinstance(layer.mlp.activation_fn, FastGELUActivation):
            layer.mlp.activation_fn = nn.GELU(approximate="tanh")
