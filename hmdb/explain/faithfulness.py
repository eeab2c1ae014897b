"""Does a map show what the answer rests on? Mask the patches in its order and see.

Two curves over the share of the patches (Samek et al. 2017; Petsiuk et al. 2018, "RISE"): how the probability
falls as the most relevant patches are masked first (deletion), and how it rises as they are the first to be seen in
a clip that is masked otherwise (insertion). What lies between the two is one number: 1 at best, 0 on average for
patches in a random order.

Masked patches get the clip's mean colour: black or noise would be a pattern of its own that the
network has never seen and might answer to; the mean takes away what is there and adds as little as can
be.
"""

from __future__ import annotations

import numpy as np
import torch

from hmdb.model.families.base import Grid

STEPS = 5  # of a curve; both take 2 * STEPS forward passes


def deletion_insertion_masks(relevance: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """What is masked at each point of both curves.

    Args:
        relevance: (times, rows, columns).

    Returns:
        bool (2, steps + 1, times, rows, columns). Of the deletion curve the first is all False and the last all
        True, of the insertion curve it is the other way round.
    """
    rank = np.empty(relevance.size, int)
    rank[np.argsort(-relevance, axis=None, kind="stable")] = np.arange(relevance.size)
    counts = np.rint(np.linspace(0, relevance.size, steps + 1)).astype(int)
    first = rank[None] < counts[:, None]  # (steps + 1, N)
    return np.stack([first, ~first]).reshape(2, steps + 1, *relevance.shape)


def mask_patches(pixel_values: torch.Tensor, marked: np.ndarray, grid: Grid) -> torch.Tensor:
    """The clip with the marked patches in its mean colour.

    Args:
        pixel_values: (1, T, 3, H, W), as the network takes it.
        marked: bool (N, times, rows, columns) of `grid`, N ways to mark them.

    Returns:
        A new (N, T, 3, H, W).
    """
    where = torch.from_numpy(marked).to(pixel_values.device)
    for dimension, length in enumerate((grid.frames, *grid.patch), start=1):
        where = where.repeat_interleave(length, dim=dimension)  # (N, T, H, W)
    mean = pixel_values.mean(dim=(1, 3, 4), keepdim=True)
    return torch.where(where[:, :, None], mean, pixel_values)
