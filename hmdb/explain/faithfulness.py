"""Does a map show what the answer rests on? Mask what it marks and see.

If the most relevant fifth of the patches really carries the answer, its probability falls further
without them than without a random fifth (the deletion test of Samek et al. 2017, at one point).

Masked patches get the clip's mean colour: black or noise would be a pattern of its own that the
network has never seen and might answer to; the mean takes away what is there and adds as little as can
be.
"""

from __future__ import annotations

import numpy as np
import torch

from hmdb.model.attention import Grid
from hmdb.results import SHARE

DRAWS = 5  # random fifths to compare with; each costs a forward pass


def most_relevant(relevance: np.ndarray, share: float = SHARE) -> np.ndarray:
    """Marks the most relevant `share` of (times, rows, columns) patches of the clip: bool, the same shape."""
    marked = np.zeros(relevance.size, bool)
    marked[np.argsort(-relevance, axis=None, kind="stable")[: _count(relevance.size, share)]] = True
    return marked.reshape(relevance.shape)


def at_random(shape: tuple[int, ...], rng: np.random.Generator, share: float = SHARE) -> np.ndarray:
    """Marks a random `share` of the patches: bool of this shape."""
    size = int(np.prod(shape))
    marked = np.zeros(size, bool)
    marked[rng.choice(size, _count(size, share), replace=False)] = True
    return marked.reshape(shape)


def mask(pixel_values: torch.Tensor, marked: np.ndarray, grid: Grid) -> torch.Tensor:
    """The clip with the marked patches in its mean colour.

    Args:
        pixel_values: (1, T, 3, H, W), as the network takes it.
        marked: bool (times, rows, columns) of `grid`.

    Returns:
        A new (1, T, 3, H, W).
    """
    where = torch.from_numpy(marked).to(pixel_values.device)
    for dimension, length in enumerate((grid.frames, *grid.patch)):
        where = where.repeat_interleave(length, dim=dimension)  # (T, H, W)
    mean = pixel_values.mean(dim=(1, 3, 4), keepdim=True)
    return torch.where(where[None, :, None], mean, pixel_values)


def _count(size: int, share: float) -> int:
    return max(round(size * share), 1)
