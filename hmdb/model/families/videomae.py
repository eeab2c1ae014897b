"""VideoMAE (Tong et al. 2022), fine-tuned: joint attention, and classification of the mean of all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hmdb.clips.clip import ClipSpec
from hmdb.errors import ModelError
from hmdb.model.families.base import Family, Grid, center_keys, fuse_mlp


class VideoMAE(Family):
    name = "VideoMAE"
    arxiv = "2203.12602"
    clip_spec = ClipSpec(num_frames=16, stride=4, sampler="centered")
    processor = "VideoMAEImageProcessor"
    class_token = False

    def grid(self, config: Any) -> Grid:
        if not config.use_mean_pooling:
            raise ModelError(
                "A VideoMAE without mean pooling classifies one corner token, so it has no map over the clip."
            )
        side = config.image_size // config.patch_size
        frames = config.tubelet_size
        return Grid(config.num_frames // frames, side, side, frames, (config.patch_size, config.patch_size))

    def layers(self, network: PreTrainedModel) -> nn.ModuleList:
        base: Any = network.base_model
        layers: nn.ModuleList = base.encoder.layer
        return layers

    def attentions(self, layer: Any) -> list[nn.Module]:
        return [layer.attention.attention]

    def fuse_layer(self, layer: Any) -> None:
        center_keys(layer.attention.attention.key, layer.layernorm_before)
        fuse_mlp(layer)

    def embed(self, network: Any, pixel_values: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = network.base_model.embeddings(pixel_values, None)
        return tokens

    def pool(self, network: Any, hidden: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = network.fc_norm(hidden.mean(1))
        return pooled
