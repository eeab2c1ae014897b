"""The supported families of video transformers. To add one, write a module and add it to `FAMILIES`."""

from __future__ import annotations

from typing import Any, TypeVar

from transformers import PreTrainedModel

from hmdb.errors import ModelError
from hmdb.model.families.base import Family, Grid
from hmdb.model.families.timesformer import TimeSformer
from hmdb.model.families.videomae import VideoMAE
from hmdb.model.families.vivit import ViViT

FAMILIES: dict[str, Family] = {"timesformer": TimeSformer(), "vivit": ViViT(), "videomae": VideoMAE()}

Network = TypeVar("Network", bound=PreTrainedModel)


def family_of(config: Any) -> Family:
    """The family of a network, by its configuration.

    Raises:
        ModelError: the family is not supported.
    """
    if config.model_type not in FAMILIES:
        raise ModelError(f"{config.model_type} models are not supported, only {', '.join(FAMILIES)}.")
    return FAMILIES[config.model_type]


def patch_grid(config: Any) -> Grid:
    """The token grid of a network, by its configuration.

    Raises:
        ModelError: the family is not supported, or the network has no map over the clip.
    """
    return family_of(config).grid(config)


def use_recorded_attention(network: Network) -> Network:
    """Makes a network, in place, use `hmdb.model.attention.fused_attention`, which can be recorded.

    Logits stay the same to 1e-4; training, dropout and TimeSformer's output_attentions work as before. Parameters and
    their names do not change. A second call has no effect.

    Returns:
        The network.

    Raises:
        ModelError: the family is not supported.
    """
    family_of(network.config).use_recorded_attention(network)
    return network
