"""TimeSformer (Bertasius et al. 2021): attention over time and then over space, or over both at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.timesformer.modeling_timesformer import TimeSformerAttention, TimesformerSelfAttention

from hmdb.clips.clip import ClipSpec
from hmdb.errors import ModelError
from hmdb.model.attention import fused_attention, is_recording
from hmdb.model.families.base import Family, Grid, center_keys, fuse_mlp


class FusedSelfAttention(TimesformerSelfAttention):
    """TimeSformer's attention through `fused_attention`; transformers has only an eager implementation."""

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False) -> tuple[torch.Tensor, ...]:
        """(B, N, C) -> ((B, N, C),)."""
        if output_attentions:
            eager: tuple[torch.Tensor, ...] = super().forward(hidden_states, output_attentions)
            return eager
        projected = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, H, D)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        dropout = self.attn_drop.p if self.training else 0.0
        return (fused_attention(self, query, key, value, dropout, self.scale),)


class ZeroTemporalAttention(TimeSformerAttention):
    """Temporal attention whose output projection is zero: computed only if its weights are recorded."""

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False) -> tuple[torch.Tensor]:
        """(B, N, C) -> ((B, N, C),)."""
        return (super().forward(hidden_states)[0] if is_recording() else torch.zeros_like(hidden_states),)


class TimeSformer(Family):
    name = "TimeSformer"
    arxiv = "2102.05095"
    clip_spec = ClipSpec(num_frames=8, stride=32, sampler="uniform")
    processor = "VideoMAEImageProcessor"
    time_major = False

    def use_recorded_attention(self, network: PreTrainedModel) -> None:
        """Replaces the class of each attention module, as TimeSformer does not support transformers' registry."""
        for module in network.modules():
            if type(module) is TimesformerSelfAttention:
                module.__class__ = FusedSelfAttention

    def sees_order(self, network: PreTrainedModel) -> bool:
        embeddings = getattr(network.base_model.embeddings, "time_embeddings", None)
        return embeddings is not None and bool(embeddings.any())

    def grid(self, config: Any) -> Grid:
        if config.attention_type == "space_only":
            raise ModelError(
                "A TimeSformer with space_only attention sees single frames, so it has no map over the clip."
            )
        side = config.image_size // config.patch_size
        return Grid(config.num_frames, side, side, 1, (config.patch_size, config.patch_size))

    def layers(self, network: PreTrainedModel) -> nn.ModuleList:
        base: Any = network.base_model
        layers: nn.ModuleList = base.encoder.layer
        return layers

    def attentions(self, layer: Any) -> list[nn.Module]:
        space: nn.Module = layer.attention.attention
        return [layer.temporal_attention.attention, space] if hasattr(layer, "temporal_attention") else [space]

    def fuse_layer(self, layer: Any) -> None:
        """Also merges the two linear layers after temporal attention, which is skipped if they give zero."""
        attentions = [(layer.attention, layer.layernorm_before)]
        if hasattr(layer, "temporal_attention"):
            attentions.append((layer.temporal_attention, layer.temporal_layernorm))
            output = layer.temporal_attention.output
            output.dense = _merged(output.dense, layer.temporal_dense)
            layer.temporal_dense = nn.Identity()
            if not (output.dense.weight.any() or output.dense.bias.any()):
                layer.temporal_attention.__class__ = ZeroTemporalAttention
        for attention, norm in attentions:
            qkv = attention.attention.qkv
            center_keys(qkv, norm, slice(qkv.in_features, 2 * qkv.in_features))
        fuse_mlp(layer)


def _merged(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """One linear layer equivalent to two consecutive ones."""
    merged = nn.Linear(first.in_features, second.out_features, device=first.weight.device)
    merged.weight.copy_(second.weight @ first.weight)
    merged.bias.copy_(second(first.bias))
    return merged
