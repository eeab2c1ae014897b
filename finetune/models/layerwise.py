"""Which parts of a network learn, and how fast: frozen first blocks, and a rate that falls towards the input.

What a network sees first (edges, textures, shapes) serves most videos; what it sees last is of the data that it was
trained on. With few clips the first blocks are better left alone, or changed little (layer-wise learning-rate decay;
Clark et al. 2020, Bao et al. 2022).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from hmdb.errors import DataError
from hmdb.model.families import family_of


def freeze(network: PreTrainedModel, blocks: int) -> None:
    """Stops the embeddings and the first blocks of a network, in place, from learning.

    Raises:
        DataError: it has fewer blocks.
    """
    layers = family_of(network.config).layers(network)
    if blocks > len(layers):
        raise DataError(f"--freeze {blocks} is more than the {len(layers)} blocks of the network; lower it.")
    if blocks:
        embeddings: Any = network.base_model.embeddings
        for module in (embeddings, *layers[:blocks]):
            module.requires_grad_(False)


def depths(network: PreTrainedModel) -> dict[str, int]:
    """How far each parameter lies from the output, in blocks: 0 for the head and the last norm.

    The last block is 1, and the embeddings lie behind the first.
    """
    layers = family_of(network.config).layers(network)
    of_module: dict[Any, int] = {network.base_model.embeddings: len(layers) + 1}
    of_module |= {layer: len(layers) - index for index, layer in enumerate(layers)}
    of_parameter = {id(each): depth for module, depth in of_module.items() for each in module.parameters()}
    return {name: of_parameter.get(id(each), 0) for name, each in network.named_parameters()}


def scale_rates(optimizer: torch.optim.Optimizer, network: PreTrainedModel, decay: float) -> None:
    """Divides the groups of an optimizer, in place, so that each block learns `decay` times as fast as the next.

    Call it before the schedule is made: what a group has then is its peak.
    """
    found = depths(network)
    depth_of = {id(each): found[name] for name, each in network.named_parameters()}
    groups, optimizer.param_groups = optimizer.param_groups, []
    for group in groups:
        for depth in sorted({depth_of[id(each)] for each in group["params"]}):
            params = [each for each in group["params"] if depth_of[id(each)] == depth]
            optimizer.add_param_group(group | {"params": params, "lr": group["lr"] * decay**depth})
