"""Attention of one patch in one block, over time and within its frame, as in the paper's figures 5 to 7.

P is the number of patches in a frame, T of token times, N of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from hmdb.explain.attribution import layer_output
from hmdb.model.attention import AttentionRecord, recording
from hmdb.model.families import family_of, use_recorded_attention
from hmdb.model.families.base import Family, Grid


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchAttention:
    """The attention of one patch in one block, averaged over the heads.

    Attributes:
        block: index of the block, from 0.
        num_blocks: number of blocks of the network.
        place: (time, row, column) of the patch in the `Grid` of tokens.
        frames: number of frames that a token spans.
        over_time: float32 (times,): attention to the same place at each time.
        over_space: float32 (rows, columns): attention to each place at the patch's own time.
        divided: True for divided space-time attention, where `over_time`, and `over_space` with the attention to the
            class token, each sum to 1; False for parts of a joint attention, which sum to less.
    """

    block: int
    num_blocks: int
    place: tuple[int, int, int]
    frames: int
    over_time: np.ndarray
    over_space: np.ndarray
    divided: bool


def most_relevant(heat: np.ndarray) -> tuple[int, int, int]:
    """The (time, row, column) of the maximum of a map (times, rows, columns); the first of several."""
    time, row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return int(time), int(row), int(column)


def patch_attention(
    network: PreTrainedModel, pixel_values: torch.Tensor, place: tuple[int, int, int], *, block: int | None = None
) -> PatchAttention:
    """Computes the attention of the patch at a place, in less than one forward pass.

    Args:
        network: a classifier of a family in `hmdb.model.families`, in eval mode. Its attention is replaced in place by
            `use_recorded_attention`.
        pixel_values: (1, frames, 3, height, width), on the network's device.
        place: (time, row, column) in the network's `Grid`.
        block: index of the block, from 0. The default is the second to last: in the last one, only the class token's
            spatial attention affects the output.

    Raises:
        ModelError: the network has no map over the clip.
        ValueError: there is no such block or place.
    """
    family = family_of(network.config)
    grid = family.grid(network.config)
    layers = family.layers(use_recorded_attention(network))
    block = max(len(layers) - 2, 0) if block is None else block
    if not 0 <= block < len(layers):
        raise ValueError(f"there are {len(layers)} blocks, from 0, and no block {block}")
    if not all(0 <= at < size for at, size in zip(place, (grid.times, grid.rows, grid.columns), strict=True)):
        raise ValueError(f"there is no place {place} in {grid}")
    with torch.no_grad():
        hidden = family.embed(network, pixel_values)  # (1, N, C)
        for layer in layers[:block]:
            hidden = layer_output(layer(hidden))
        with recording(lambda attended: attended) as kept:
            layers[block](hidden)
        attended: list[AttentionRecord] = [kept[module] for module in family.attentions(layers[block])]
        over_time, over_space = (_divided if len(attended) > 1 else _joint)(attended, place, family, grid)
    return PatchAttention(
        block=block,
        num_blocks=len(layers),
        place=place,
        frames=grid.frames,
        over_time=over_time.float().cpu().numpy(),
        over_space=over_space.float().cpu().numpy().reshape(grid.rows, grid.columns),
        divided=len(attended) > 1,
    )


def _divided(
    attended: list[AttentionRecord], place: tuple[int, int, int], family: Family, grid: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """(T,) and (P,), of divided attention: time is (P, T, T), space (T, 1 + P, 1 + P)."""
    time, row, column = place
    patch, before = row * grid.columns + column, int(family.class_token)
    over_time = attended[0].head_average(rows=slice(time, time + 1))[patch, 0]
    over_space = attended[1].head_average(rows=slice(before + patch, before + patch + 1))[time, 0, before:]
    return over_time, over_space


def _joint(
    attended: list[AttentionRecord], place: tuple[int, int, int], family: Family, grid: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """(T,) and (P,), of joint attention over all tokens."""
    time, row, column = place
    patch, patches, before = row * grid.columns + column, grid.rows * grid.columns, int(family.class_token)
    token = before + (time * patches + patch if family.time_major else patch * grid.times + time)
    row_of_all = attended[0].head_average(rows=slice(token, token + 1))[0, 0, before:]  # (T * P,)
    table = row_of_all.view(grid.times, patches) if family.time_major else row_of_all.view(patches, grid.times).T
    return table[:, patch], table[time]
