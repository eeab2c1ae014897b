"""Faithfulness of attribution maps, tested by masking patches in order of relevance.

There are two curves over the fraction of the patches (Samek et al. 2017; Petsiuk et al. 2018, "RISE"). Deletion: the
probability falls as the most relevant patches are masked. Insertion: it rises as the most relevant patches of a masked
clip are uncovered. The area between them is 1 at best, and 0 on average for a random order of the patches.

Masked patches get the mean colour of the clip. Black or noise would be a pattern that the network has never seen and
might react to.
"""

from __future__ import annotations

import numpy as np
import torch

from hmdb.model.families import patch_grid
from hmdb.model.families.base import Grid
from hmdb.model.loading import LoadedModel
from hmdb.model.scoring import forward, to_batch
from hmdb.results import Explanation, Faithfulness

STEPS = 5  # of each curve; together they take 2 * STEPS forward passes
BATCH_CLIPS = 4  # masked clips in one forward pass


def deletion_insertion_masks(relevance: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """The patches that are masked at each point of both curves.

    Args:
        relevance: (times, rows, columns).

    Returns:
        bool (2, steps + 1, times, rows, columns). The deletion curve goes from all False to all True, the insertion
        curve the other way round.
    """
    rank = np.empty(relevance.size, int)
    rank[np.argsort(-relevance, axis=None, kind="stable")] = np.arange(relevance.size)
    counts = np.rint(np.linspace(0, relevance.size, steps + 1)).astype(int)
    first = rank[None] < counts[:, None]  # (steps + 1, N)
    return np.stack([first, ~first]).reshape(2, steps + 1, *relevance.shape)


def mask_patches(pixel_values: torch.Tensor, masks: np.ndarray, grid: Grid) -> torch.Tensor:
    """Masks patches of a clip with its mean colour.

    Args:
        pixel_values: (1, T, 3, H, W), preprocessed.
        masks: bool (N, times, rows, columns) of `grid`: N masks, True for masked patches.

    Returns:
        A new (N, T, 3, H, W).
    """
    masked = torch.from_numpy(masks).to(pixel_values.device)
    for dimension, length in enumerate((grid.frames, *grid.patch), start=1):
        masked = masked.repeat_interleave(length, dim=dimension)  # (N, T, H, W)
    mean = pixel_values.mean(dim=(1, 3, 4), keepdim=True)
    return torch.where(masked[:, :, None], mean, pixel_values)


def deletion_insertion(loaded: LoadedModel, explanation: Explanation, label: str, index: int) -> Faithfulness:
    """Computes the deletion and insertion curves of an attribution map for a label, the one at `index`."""
    pixel_values = to_batch(loaded, [explanation.prediction.clip])
    grid = patch_grid(loaded.network.config)
    relevance = explanation.heat[:: grid.frames]
    # Each curve ends where the other begins, so its last point is not computed.
    masks = deletion_insertion_masks(relevance)[:, :-1].reshape(-1, *relevance.shape)
    probabilities = [
        forward(loaded, mask_patches(pixel_values, masks[start : start + BATCH_CLIPS], grid))[:, index]
        for start in range(0, len(masks), BATCH_CLIPS)
    ]
    deleted, inserted = np.concatenate(probabilities).reshape(2, -1)
    return Faithfulness(
        label=label,
        shares=tuple(np.linspace(0, 1, len(deleted) + 1).tolist()),
        deleted=(*deleted.tolist(), float(inserted[0])),
        inserted=(*inserted.tolist(), float(deleted[0])),
    )
