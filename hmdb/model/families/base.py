"""What a family of video transformers has to say about itself, for its networks to answer and to be explained.

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
    """How the tokens of a network lie in its clip: `times` x `rows` x `columns` of them, each over
    `frames` frames and `patch` = (height, width) pixels.
    """

    times: int
    rows: int
    columns: int
    frames: int
    patch: tuple[int, int]


class Family(ABC):
    """The classifiers of one architecture in transformers.

    Attributes:
        name: for people.
        arxiv: of the paper that it comes from.
        clip_spec: what a checkpoint without one was trained on.
        processor: the class whose preprocessor_config.json its checkpoints have, where that names none.
        class_token: whether the first token answers; otherwise the mean of all does, and there is none.
        time_major: whether the patches of a moment in time lie side by side, rather than the moments of a patch.
    """

    name: ClassVar[str]
    arxiv: ClassVar[str]
    clip_spec: ClassVar[ClipSpec]
    processor: ClassVar[str]
    class_token: ClassVar[bool] = True
    time_major: ClassVar[bool] = True

    @abstractmethod
    def grid(self, config: Any) -> Grid:
        """The tokens of a network with this configuration.

        Raises:
            ModelError: its answers have no map over the clip.
        """

    def use_recorded_attention(self, network: PreTrainedModel) -> None:
        """Makes the attention of a network, in place, call `hmdb.model.attention.fused_attention`."""
        network.set_attn_implementation(RECORDED)

    @abstractmethod
    def layers(self, network: PreTrainedModel) -> nn.ModuleList:
        """The layers, in the order in which they run."""

    @abstractmethod
    def attentions(self, layer: Any) -> list[nn.Module]:
        """The attention modules of a layer: one over all tokens, or two, over time and then over space."""

    def embed(self, network: Any, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, frames, 3, height, width) -> what the first layer takes, (B, N, C)."""
        tokens: torch.Tensor = network.base_model.embeddings(pixel_values)
        return tokens

    def classify(self, network: Any, hidden: torch.Tensor) -> torch.Tensor:
        """What the last layer gives, (B, N, C) -> logits, (B, labels)."""
        logits: torch.Tensor = network.classifier(network.base_model.layernorm(hidden)[:, 0])
        return logits

    def prune_last_attention(self, layer: Any) -> None:  # noqa: B027 - what others leave out is little
        """Has the attention of the last layer, in place, ask for the class token alone, since nothing else of it is
        read; it cannot be trained any more. What it is asked of is still all tokens.
        """

    @abstractmethod
    def fuse_layer(self, layer: Any) -> None:
        """Replaces operations of a layer, in place, by fewer with the same result: its keys are levelled and its MLP is
        one module. It cannot be trained any more.
        """


def fuse_mlp(layer: Any) -> None:
    """Puts the MLP of a layer, which is spread over `intermediate` and `output`, into the first of these, in place."""
    rise, activation = layer.intermediate.dense, layer.intermediate.intermediate_act_fn
    layer.intermediate = Mlp(rise, activation, layer.output.dense)
    layer.output.dense = nn.Identity()


def center_keys(keys: nn.Linear, norm: nn.LayerNorm, rows: slice = slice(None)) -> None:
    """Takes out of keys, in place, what they share whatever the clip: the bias, and what comes of that of `norm`.

    What is taken out adds the same to all scores of a query, so a softmax does not see it. But scores become large by
    it, over 200 in some networks, and bfloat16 rounds those to whole numbers.

    Args:
        keys: the projection.
        norm: whose output it takes.
        rows: of its weight that make keys.
    """
    bias = keys.weight.new_zeros(keys.out_features) if keys.bias is None else keys.bias.clone()
    bias[rows] = -(keys.weight[rows] @ norm.bias)
    keys.bias = nn.Parameter(bias)
