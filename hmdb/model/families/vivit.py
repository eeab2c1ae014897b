"""ViViT (Arnab et al. 2021), its first model: all tokens attend to one another."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import FastGELUActivation
from transformers.models.vivit.modeling_vivit import VivitAttention

from hmdb.clips.clip import ClipSpec
from hmdb.model.attention import attend, is_recorded
from hmdb.model.families.base import Family, Grid


class RecordedVivitAttention(VivitAttention):
    """ViViT's attention, which is fused already and takes another way in a recording, or where one is faster."""

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """(B, N, C) -> ((B, N, C), the attention or None)."""
        if not is_recorded() and self.q_proj.weight.dtype == torch.float32:
            return super().forward(hidden_states, attention_mask, **kwargs)
        query, key, value = (
            projection(hidden_states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, H, N, D)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        dropout = self.attention_dropout if self.training else 0.0
        return self.o_proj(attend(self, query, key, value, dropout, self.scaling)), None


class ViViT(Family):
    name = "ViViT"
    clip_spec = ClipSpec(num_frames=32, stride=2, sampler="centered")
    processor = "VivitImageProcessor"
    fused: ClassVar = {VivitAttention: RecordedVivitAttention}

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
