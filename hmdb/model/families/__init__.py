"""The families of video transformers that can answer, a file each; a further one is a file and a line here."""

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
        ModelError: none that is known.
    """
    if config.model_type not in FAMILIES:
        raise ModelError(f"{config.model_type} is no family of networks that is known here: {', '.join(FAMILIES)}.")
    return FAMILIES[config.model_type]


def patch_grid(config: Any) -> Grid:
    """The token grid of a network, by its configuration.

    Raises:
        ModelError: another family, or one whose answers have no map over the clip.
    """
    return family_of(config).grid(config)


def use_recorded_attention(network: Network) -> Network:
    """Gives a network, in place, attention that is fused and can be recorded.

    Logits stay the same to 1e-4, training and dropout work as before, and so does asking a TimeSformer for
    output_attentions. Parameters and their names do not change. Repeating it does nothing.

    Returns:
        The network.

    Raises:
        ModelError: a family that is not known.
    """
    family_of(network.config).use_recorded_attention(network)
    return network
