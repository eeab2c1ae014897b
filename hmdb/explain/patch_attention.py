"""What one patch attends to on its way through a network: over time, and over its own frame.

A map says what mattered. This shows the attention itself, in one place of one block, as the paper's figures 5 to 7 do.
P is the number of patches in a frame, T of moments in time, N of tokens.
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
        block: which, from 0.
        num_blocks: of the network.
        place: (time, row, column) of the patch in the `Grid` of tokens.
        frames: that one time spans.
        over_time: float32 (times,), to the same place at each time.
        over_space: float32 (rows, columns), to each place at its own time.
        divided: whether these are two attentions, time before space, each of which sums to 1 with what space gives
            to the class token; or the two parts of one attention over all tokens, which sum to less.
    """

    block: int
    num_blocks: int
    place: tuple[int, int, int]
    frames: int
    over_time: np.ndarray
    over_space: np.ndarray
    divided: bool


def most_relevant(heat: np.ndarray) -> tuple[int, int, int]:
    """The place of the most relevant patch of a map (times, rows, columns); the first of several."""
    time, row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return int(time), int(row), int(column)


def patch_attention(
    network: PreTrainedModel, pixel_values: torch.Tensor, place: tuple[int, int, int], *, block: int | None = None
) -> PatchAttention:
    """What the patch at a place attends to. It costs less than one pass.

    Args:
        network: a classifier of a family of `hmdb.model.families`, in eval mode. It is fused if it is not yet.
        pixel_values: (1, frames, 3, height, width), on the network's device.
        place: (time, row, column) in the network's `Grid`.
        block: which, from 0; the last but one, if not given: of what the last makes of the patches over space, only
            the class token's part reaches the answer.

    Raises:
        ModelError: the answers of this network have no map over the clip.
        ValueError: no such block or place.
    """
    family = family_of(network.config)
    where = family.grid(network.config)
    layers = family.layers(use_recorded_attention(network))
    block = max(len(layers) - 2, 0) if block is None else block
    if not 0 <= block < len(layers):
        raise ValueError(f"there are {len(layers)} blocks, from 0, and no block {block}")
    if not all(0 <= at < size for at, size in zip(place, (where.times, where.rows, where.columns), strict=True)):
        raise ValueError(f"there is no place {place} in {where}")
    with torch.no_grad():
        hidden = family.embed(network, pixel_values)  # (1, N, C)
        for layer in layers[:block]:
            hidden = layer_output(layer(hidden))
        with recording(lambda attended: attended) as kept:
            layers[block](hidden)
        attended: list[AttentionRecord] = [kept[module] for module in family.attentions(layers[block])]
        over_time, over_space = (_divided if len(attended) > 1 else _joint)(attended, place, family, where)
    return PatchAttention(
        block=block,
        num_blocks=len(layers),
        place=place,
        frames=where.frames,
        over_time=over_time.float().cpu().numpy(),
        over_space=over_space.float().cpu().numpy().reshape(where.rows, where.columns),
        divided=len(attended) > 1,
    )


def _divided(
    attended: list[AttentionRecord], place: tuple[int, int, int], family: Family, where: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """(T,) and (P,), of two attentions: over time with a row of the batch for each patch, over space for each time."""
    time, row, column = place
    patch, before = row * where.columns + column, int(family.class_token)
    over_time = attended[0].averaged(rows=slice(time, time + 1))[patch, 0]
    over_space = attended[1].averaged(rows=slice(before + patch, before + patch + 1))[time, 0, before:]
    return over_time, over_space


def _joint(
    attended: list[AttentionRecord], place: tuple[int, int, int], family: Family, where: Grid
) -> tuple[torch.Tensor, torch.Tensor]:
    """(T,) and (P,), of one attention over all tokens."""
    time, row, column = place
    patch, patches, before = row * where.columns + column, where.rows * where.columns, int(family.class_token)
    token = before + (time * patches + patch if family.time_major else patch * where.times + time)
    row_of_all = attended[0].averaged(rows=slice(token, token + 1))[0, 0, before:]  # (T * P,)
    table = row_of_all.view(where.times, patches) if family.time_major else row_of_all.view(patches, where.times).T
    return table[:, patch], table[time]
