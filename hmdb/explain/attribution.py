"""Where in the clip the model looked: the relevance of each token for the one that answers, or for the mean of all.

- `rollout`: attention rollout (Abnar & Zuidema 2020). Each attention, averaged over its heads, is mixed
  half and half with the residual beside it; the row of what answers is carried through from the last layer
  to the first. It does not depend on a label.
- `class_relevance`: the same with gradient x attention of one label's logit, its positive part averaged
  over the heads, in place of attention (Chefer et al. 2021, "Generic Attention-model Explainability").

What answers is the class token or, where a family has none, the mean of all tokens, whose row is the mean of theirs.
Divided space-time attention is two attentions in a layer, over time and then over space; the row goes
back through both without ever forming the (1 + P * T)^2 matrix that they amount to. P is the number of
patches in a frame, T of moments in time, H of heads, N of tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from hmdb.model.attention import AttentionRecord, recording
from hmdb.model.families import family_of, use_recorded_attention
from hmdb.model.families.base import Family, Grid

BLOCK_ROWS = 256  # of a joint attention that are in memory at once: 39 MB of ViViT-base's 472


def rollout(network: PreTrainedModel, pixel_values: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """The answer and its attention rollout, in one pass.

    Of each layer only what the way back needs is kept: of TimeSformer the head-averaged maps (1.3 MB a
    layer of TimeSformer-base), of joint attention the queries and keys (19 MB a layer of ViViT-base), from
    which its rows are made again, a block at a time.

    Args:
        network: a classifier of a family of `hmdb.model.families`, in eval mode. It is fused if it is not yet.
        pixel_values: (1, frames, 3, height, width), on the network's device.

    Returns:
        The logits, (labels,), and the relevance of each token, (times, rows, columns) of `grid`, at least 0.
        With what stays on the class token, where there is one, it would sum to 1.

    Raises:
        ModelError: no map can be made for this kind of network.
    """
    family, where = family_of(network.config), _layer_of(network)
    layers = family.layers(network)
    divided = len(family.attentions(layers[0])) > 1
    with torch.no_grad():
        with recording(AttentionRecord.averaged if divided else _without_values) as kept:
            logits = network(pixel_values=pixel_values).logits[0]
        walk = _RelevancePropagation(family, where, mix=0.5, share=1 / where.times, like=pixel_values)
        for layer in reversed(layers):
            attended = [kept.pop(module) for module in family.attentions(layer)]
            if divided:
                walk.divided(*attended)
            else:
                walk.joint(*attended)
    return logits, walk.relevance()


def class_relevance(
    network: PreTrainedModel, pixel_values: torch.Tensor, label: int | None = None
) -> tuple[torch.Tensor, np.ndarray]:
    """The answer and the relevance of each token for one label.

    The layers are run again from the last to the first, each by itself with its gradient, so that no more
    than one layer's activations are held.

    Args:
        network, pixel_values: as for `rollout`.
        label: the index of a logit; the largest one's, if not given.

    Returns:
        As `rollout`; the relevance is in no unit.

    Raises:
        ModelError: no map can be made for this kind of network.
    """
    family, where = family_of(network.config), _layer_of(network)
    layers = family.layers(network)
    inputs: list[torch.Tensor] = []
    with torch.no_grad():
        hidden = family.embed(network, pixel_values)  # (1, N, C)
        for layer in layers:
            inputs.append(hidden)
            hidden = layer_output(layer(hidden))
    with torch.enable_grad():
        hidden = hidden.detach().requires_grad_()
        logits = family.classify(network, hidden)[0]  # (labels,)
        target = logits[int(logits.argmax()) if label is None else label]
        (gradient,) = torch.autograd.grad(target, [hidden])
    # The gradient of each frame's copy of the class token already has the 1 / T of their mean.
    walk = _RelevancePropagation(family, where, mix=1.0, share=1.0, like=pixel_values)
    for layer in reversed(layers):
        with torch.enable_grad(), recording(lambda attended: attended) as kept:
            hidden = inputs.pop().detach().requires_grad_()
            output = layer_output(layer(hidden))
        attended: list[AttentionRecord] = [kept[module] for module in family.attentions(layer)]
        contexts = [each.context for each in attended if each.context is not None]
        gradient, *gradients = torch.autograd.grad(output, [hidden, *contexts], gradient)
        with torch.no_grad():
            if len(attended) > 1:
                time, space = (each.averaged(grad) for each, grad in zip(attended, gradients, strict=True))
                walk.divided(time, space)
            else:
                walk.joint(attended[0], gradients[0])
    return logits.detach(), walk.relevance()


def to_heatmap(relevance: np.ndarray, frames: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """What an `Explanation` shows of a relevance (times, rows, columns) whose tokens span `frames` frames.

    Returns:
        heat: float32 (times * frames, rows, columns), stretched to 0..1 over the whole clip; all 0 where
            the relevance is the same everywhere.
        frame_importance: float32 (times * frames,); even where there is no relevance at all.
    """
    per_frame = np.repeat(relevance.astype(np.float64), frames, axis=0)
    low, high = per_frame.min(), per_frame.max()
    heat = (per_frame - low) / (high - low) if high > low else np.zeros_like(per_frame)
    importance = per_frame.sum(axis=(1, 2))
    total = importance.sum()
    importance = importance / total if total > 0 else np.full_like(importance, 1 / len(importance))
    return heat.astype(np.float32), importance.astype(np.float32)


class _RelevancePropagation:
    """Carries the row of what answers from the last layer to the first.

    Attributes:
        cls: what lies on the class token, (); always 0 where there is none.
        patches: what lies on the patches, (T, P).
    """

    def __init__(self, family: Family, where: Grid, *, mix: float, share: float, like: torch.Tensor) -> None:
        """
        Args:
            mix: of the residual and of the attention beside it.
            share: of each frame's class token in the one class token that they are made from.
        """
        self.family, self.grid, self.mix, self.share = family, where, mix, share
        dtype = torch.promote_types(like.dtype, torch.float32)
        shape = (where.times, where.rows * where.columns)
        self.cls = torch.full((), float(family.class_token), dtype=dtype, device=like.device)
        at_once = 0.0 if family.class_token else 1 / (shape[0] * shape[1])
        self.patches = torch.full(shape, at_once, dtype=dtype, device=like.device)

    def divided(self, time: torch.Tensor, space: torch.Tensor) -> None:
        """Back through one layer: space first, since the layer ends with it.

        Args:
            time: (P, T, T). The class token takes no part in it.
            space: (T, 1 + P, 1 + P). The class token is copied to each frame.
        """
        cls, patches = self.cls, self.patches
        to_cls = cls * self.share * space[:, 0, 0].sum() + (patches * space[:, 1:, 0]).sum()
        to_patches = cls * self.share * space[:, 0, 1:] + torch.einsum("tp,tpq->tq", patches, space[:, 1:, 1:])
        self.cls = self.mix * (cls + to_cls)
        patches = self.mix * (patches + to_patches)
        self.patches = self.mix * (patches + torch.einsum("tp,pts->sp", patches, time))

    def joint(self, attended: AttentionRecord, gradient: torch.Tensor | None = None) -> None:
        """Back through one layer whose tokens all attend to one another."""
        time_major, before = self.family.time_major, int(self.family.class_token)
        times, patches = self.patches.shape
        order = self.patches if time_major else self.patches.T
        row = torch.cat([self.cls.expand(before), order.flatten()])  # (N,)
        onward = row.clone()
        for start in range(0, len(row), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            if row[rows].any():  # in the last layer only the class token's row counts
                asked = attended.averaged(gradient, rows)[0]  # there it may be the only one
                onward += row[rows][: len(asked)] @ asked
        onward = self.mix * onward
        self.cls = onward[:before].sum()
        order = onward[before:]
        self.patches = order.view(times, patches) if time_major else order.view(patches, times).T

    def relevance(self) -> np.ndarray:
        """(times, rows, columns)."""
        relevance: np.ndarray = self.patches.reshape(self.grid.times, self.grid.rows, self.grid.columns).cpu().numpy()
        return relevance


def _layer_of(network: PreTrainedModel) -> Grid:
    """The token grid of a network, which is fused if it is not yet.

    Raises:
        ModelError: its answers have no map over the clip.
    """
    where = family_of(network.config).grid(network.config)
    use_recorded_attention(network)
    return where


def layer_output(result: Any) -> torch.Tensor:
    """What a layer hands on, (B, N, C); TimeSformer's wrap it in a tuple."""
    output: torch.Tensor = result[0] if isinstance(result, tuple) else result
    return output


def _without_values(attended: AttentionRecord) -> AttentionRecord:
    return replace(attended, value=None, context=None)
