"""The interface of a family of video transformers, for inference and attribution.

B is the batch, N the tokens, C the width of a token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel

from hmdb.clips.clip import ClipSpec
from hmdb.model.attention import RECORDED
from hmdb.model.layers import Mlp


@dataclass(frozen=True)
class Grid:
    """The token grid of a network: `times` x `rows` x `columns` tokens, each spanning `frames` frames and `patch` =
    (height, width) pixels.
    """

    times: int
    rows: int
    columns: int
    frames: int
    patch: tuple[int, int]


class Family(ABC):
    """The classifiers of one architecture in transformers.

    Attributes:
        name: the name for people.
        arxiv: arXiv id of its paper.
        clip_spec: default for checkpoints without one.
        processor: default processor class for a preprocessor_config.json that names none.
        class_token: True if the first token is classified; False if there is none and the mean of all tokens is.
        time_major: True if tokens are ordered by time and then patch, False for the reverse.
    """

    name: ClassVar[str]
    arxiv: ClassVar[str]
    clip_spec: ClassVar[ClipSpec]
    processor: ClassVar[str]
    class_token: ClassVar[bool] = True
    time_major: ClassVar[bool] = True

    @abstractmethod
    def grid(self, config: Any) -> Grid:
        """The token grid of a network with this configuration.

        Raises:
            ModelError: the network has no map over the clip.
        """

    def sees_order(self, network: PreTrainedModel) -> bool:
        """True if reordering the frames can change the answer: their positions in time are embedded."""
        return True

    def use_recorded_attention(self, network: PreTrainedModel) -> None:
        """Makes a network, in place, use `hmdb.model.attention.fused_attention`."""
        network.set_attn_implementation(RECORDED)

    @abstractmethod
    def layers(self, network: PreTrainedModel) -> nn.ModuleList:
        """The layers, in order."""

    @abstractmethod
    def attentions(self, layer: Any) -> list[nn.Module]:
        """The attention modules of a layer: one (joint), or two (divided: time, then space)."""

    def embed(self, network: Any, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, frames, 3, height, width) -> input of the first layer, (B, N, C)."""
        tokens: torch.Tensor = network.base_model.embeddings(pixel_values)
        return tokens

    def pool(self, network: Any, hidden: torch.Tensor) -> torch.Tensor:
        """Output of the last layer, (B, N, C) -> input of the classifier, (B, C)."""
        pooled: torch.Tensor = network.base_model.layernorm(hidden)[:, 0]
        return pooled

    def prune_last_attention(self, layer: Any) -> None:  # noqa: B027 - optional: others gain little
        """Limits the queries of the last layer's attention, in place, to the class token, the only output that is used.
        Keys and values are still those of all tokens. The layer can no longer be trained.
        """

    @abstractmethod
    def fuse_layer(self, layer: Any) -> None:
        """Replaces operations of a layer, in place, by fewer with the same result: centers its keys and makes its MLP
        one module. The layer can no longer be trained.
        """


def fuse_mlp(layer: Any) -> None:
    """Moves the MLP of a layer, split between `intermediate` and `output`, into `intermediate`, in place."""
    up, activation = layer.intermediate.dense, layer.intermediate.intermediate_act_fn
    layer.intermediate = Mlp(up, activation, layer.output.dense)
    layer.output.dense = nn.Identity()


def center_keys(keys: nn.Linear, norm: nn.LayerNorm, rows: slice = slice(None)) -> None:
    """Removes the input-independent part of keys, in place: their bias, and the effect of the bias of `norm`.

    It adds the same value to all scores of a query, which softmax ignores. But it makes scores large, over 200 in some
    networks, which bfloat16 rounds to whole numbers.

    Args:
        keys: the projection.
        norm: the layer norm before it.
        rows: the rows of its weight that compute keys.
    """
    bias = keys.weight.new_zeros(keys.out_features) if keys.bias is None else keys.bias.clone()
    bias[rows] = -(keys.weight[rows] @ norm.bias)
    keys.bias = nn.Parameter(bias)
