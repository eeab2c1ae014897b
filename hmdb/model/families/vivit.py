"""ViViT (Arnab et al. 2021), model 1: joint attention over all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.vivit.modeling_vivit import VivitAttention

from hmdb.clips.clip import ClipSpec
from hmdb.model.attention import fused_attention
from hmdb.model.families.base import Family, Grid, center_keys
from hmdb.model.layers import Mlp


class ClassTokenAttention(VivitAttention):
    """ViViT's attention with the class token as the only query."""

    def forward(  # type: ignore[override]  # fewer arguments than in transformers
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> tuple[torch.Tensor, None]:
        """(B, N, C) -> ((B, 1, C), None). The mask is ignored: clips have none."""
        query, key, value = (
            projection(tokens).unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)
            for projection, tokens in (
                (self.q_proj, hidden_states[:, :1]),
                (self.k_proj, hidden_states),
                (self.v_proj, hidden_states),
            )
        )
        return self.o_proj(fused_attention(self, query, key, value, 0.0, self.scaling)), None


class ViViT(Family):
    name = "ViViT"
    arxiv = "2103.15691"
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

    def prune_last_attention(self, layer: Any) -> None:
        layer.attention.__class__ = ClassTokenAttention

    def fuse_layer(self, layer: Any) -> None:
        center_keys(layer.attention.k_proj, layer.layernorm_before)
        layer.mlp = Mlp(layer.mlp.fc1, layer.mlp.activation_fn, layer.mlp.fc2)
