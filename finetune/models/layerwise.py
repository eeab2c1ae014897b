"""Freezes the first blocks of a network, and decays learning rates by layer.

The first blocks extract features that serve most videos (edges, textures, shapes), the last ones those of the training
data. With few clips the first blocks are better frozen, or changed little (layer-wise learning-rate decay; Clark et al.
2020, Bao et al. 2022).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from hmdb.errors import DataError
from hmdb.model.families import family_of


def freeze(network: PreTrainedModel, blocks: int) -> None:
    """Freezes the embeddings and the first blocks of a network, in place.

    Raises:
        DataError: the network has fewer blocks.
    """
    layers = family_of(network.config).layers(network)
    if blocks > len(layers):
        raise DataError(f"--freeze-blocks {blocks} is more than the {len(layers)} blocks of the network; lower it.")
    if blocks:
        embeddings: Any = network.base_model.embeddings
        for module in (embeddings, *layers[:blocks]):
            module.requires_grad_(False)


def depths(network: PreTrainedModel) -> dict[str, int]:
    """The distance of each parameter from the output in blocks: 0 for the head and last norm, 1 for the last block.

    The embeddings come after the first block.
    """
    layers = family_of(network.config).layers(network)
    of_module: dict[Any, int] = {network.base_model.embeddings: len(layers) + 1}
    of_module |= {layer: len(layers) - index for index, layer in enumerate(layers)}
    of_parameter = {id(value): depth for module, depth in of_module.items() for value in module.parameters()}
    return {name: of_parameter.get(id(value), 0) for name, value in network.named_parameters()}


def scale_rates(optimizer: torch.optim.Optimizer, network: PreTrainedModel, decay: float) -> None:
    """Splits the parameter groups of an optimizer, in place, so that each block's rate is `decay` times the next one's.

    Call it before the schedule is made, which takes the rate of each group as its peak.
    """
    by_name = depths(network)
    depth_of = {id(parameter): by_name[name] for name, parameter in network.named_parameters()}
    groups, optimizer.param_groups = optimizer.param_groups, []
    for group in groups:
        for depth in sorted({depth_of[id(value)] for value in group["params"]}):
            params = [value for value in group["params"] if depth_of[id(value)] == depth]
            optimizer.add_param_group(group | {"params": params, "lr": group["lr"] * decay**depth})
