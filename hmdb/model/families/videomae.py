"""VideoMAE (Tong et al. 2022), fine-tuned: all tokens attend to one another, and their mean answers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.videomae.modeling_videomae import VideoMAESelfAttention

from hmdb.clips.clip import ClipSpec
from hmdb.errors import ModelError
from hmdb.model.attention import attend, is_recorded
from hmdb.model.families.base import Family, Grid


class RecordedVideoMAEAttention(VideoMAESelfAttention):
    """VideoMAE's attention, which is fused already and takes another way in a recording, or where one is faster."""

    def forward(self, hidden_states: torch.Tensor | None = None) -> Any:
        """(B, N, C) -> ((B, N, C), the attention or None)."""
        if not is_recorded() and self.query.weight.dtype == torch.float32:
            return super().forward(hidden_states)
        query, key, value = (
            projection(hidden_states).unflatten(-1, (-1, self.attention_head_size)).transpose(1, 2)  # (B, H, N, D)
            for projection in (self.query, self.key, self.value)
        )
        dropout = self.dropout_prob if self.training else 0.0
        return attend(self, query, key, value, dropout, self.scaling), None


class VideoMAE(Family):
    name = "VideoMAE"
    clip_spec = ClipSpec(num_frames=16, stride=4, sampler="centered")
    processor = "VideoMAEImageProcessor"
    fused: ClassVar = {VideoMAESelfAttention: RecordedVideoMAEAttention}
    class_token = False

    def grid(self, config: Any) -> Grid:
        if not config.use_mean_pooling:
            raise ModelError("A VideoMAE without mean pooling answers from one corner; it has no map over the clip.")
        side = config.image_size // config.patch_size
        frames = config.tubelet_size
        return Grid(config.num_frames // frames, side, side, frames, (config.patch_size, config.patch_size))

    def layers(self, network: PreTrainedModel) -> nn.ModuleList:
        base: Any = network.base_model
        layers: nn.ModuleList = base.encoder.layer
        return layers

    def attentions(self, layer: Any) -> list[nn.Module]:
        return [layer.attention.attention]

    def embed(self, network: Any, pixel_values: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = network.base_model.embeddings(pixel_values, None)
        return tokens

    def classify(self, network: Any, hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network.classifier(network.fc_norm(hidden.mean(1)))
        return logits
