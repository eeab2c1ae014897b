"""Attribution maps: the relevance of each token of a clip for the output.

- `rollout`: attention rollout (Abnar & Zuidema 2020). Each layer's attention, averaged over the heads, is mixed half
  and half with the residual; the row of the output token is propagated from the last layer to the first. It does not
  depend on a label.
- `class_relevance`: the same with the positive part of gradient x attention for the logit of one label in place of
  attention, averaged over the heads (Chefer et al. 2021, "Generic Attention-model Explainability").

The output token is the class token or, in families without one, the mean of all tokens, whose row is the mean of their
rows. Divided space-time attention has two attentions in a layer, over time and then over space; the row is propagated
through both without forming the (1 + P * T)^2 matrix of their product. P is the number of patches in a frame, T of
token times, H of heads, N of tokens.
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
from hmdb.model.loading import LoadedModel
from hmdb.model.scoring import view_features
from hmdb.teaching.features import part_gradient, view_frames

BLOCK_ROWS = 256  # rows of a joint attention in memory at a time: 39 MB of ViViT-base's 472


def rollout(network: PreTrainedModel, pixel_values: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """Computes the logits and their attention rollout, in one forward pass.

    It keeps the head-averaged attention of each TimeSformer layer (1.3 MB a layer for TimeSformer-base), or the queries
    and keys of each joint attention (19 MB a layer for ViViT-base), whose rows are recomputed in blocks.

    Args:
        network: a classifier of a family in `hmdb.model.families`, in eval mode. Its attention is replaced in place by
            `use_recorded_attention`.
        pixel_values: (1, frames, 3, height, width), on the network's device.

    Returns:
        The logits, (labels,), and the relevance of each token, (times, rows, columns) of the network's `Grid`, at least
        0. Together with the relevance of the class token, if there is one, it sums to 1.

    Raises:
        ModelError: the network has no map over the clip.
    """
    family, grid = family_of(network.config), _prepare(network)
    layers = family.layers(network)
    divided = len(family.attentions(layers[0])) > 1
    with torch.no_grad():
        with recording(AttentionRecord.head_average if divided else _without_values) as kept:
            logits = network(pixel_values=pixel_values).logits[0]
        propagation = _RelevancePropagation(family, grid, mix=0.5, share=1 / grid.times, like=pixel_values)
        for layer in reversed(layers):
            attended = [kept.pop(module) for module in family.attentions(layer)]
            if divided:
                propagation.divided(*attended)
            else:
                propagation.joint(*attended)
    return logits, propagation.relevance()


def class_relevance(
    network: PreTrainedModel, pixel_values: torch.Tensor, label: int | None = None, *, weight: np.ndarray | None = None
) -> tuple[torch.Tensor, np.ndarray]:
    """Computes the logits and the relevance of each token for one label.

    The layers are run a second time, each by itself with its gradient, from the last to the first, so that the
    activations of only one layer are in memory.

    Args:
        network, pixel_values: as for `rollout`.
        label: index of the logit; the largest one by default.
        weight: float32 (C,): a linear function of the classifier's input, to use in place of a logit.

    Returns:
        As for `rollout`; the relevance has no unit.

    Raises:
        ModelError: the network has no map over the clip.
    """
    family, grid = family_of(network.config), _prepare(network)
    layers = family.layers(network)
    inputs: list[torch.Tensor] = []
    with torch.no_grad():
        hidden = family.embed(network, pixel_values)  # (1, N, C)
        for layer in layers:
            inputs.append(hidden)
            hidden = layer_output(layer(hidden))
    with torch.enable_grad():
        hidden = hidden.detach().requires_grad_()
        pooled = family.pool(network, hidden)  # (1, C)
        head: Any = network.classifier
        logits = head(pooled)[0]  # (labels,)
        if weight is None:
            target = logits[int(logits.argmax()) if label is None else label]
        else:
            target = pooled[0] @ torch.from_numpy(weight).to(pooled)
        (gradient,) = torch.autograd.grad(target, [hidden])
    # The gradient of each frame's copy of the class token already includes the 1 / T of their mean.
    propagation = _RelevancePropagation(family, grid, mix=1.0, share=1.0, like=pixel_values)
    for layer in reversed(layers):
        with torch.enable_grad(), recording(lambda attended: attended) as kept:
            hidden = inputs.pop().detach().requires_grad_()
            output = layer_output(layer(hidden))
        attended: list[AttentionRecord] = [kept[module] for module in family.attentions(layer)]
        contexts = [each.context for each in attended if each.context is not None]
        gradient, *gradients = torch.autograd.grad(output, [hidden, *contexts], gradient)
        with torch.no_grad():
            if len(attended) > 1:
                time, space = (each.head_average(grad) for each, grad in zip(attended, gradients, strict=True))
                propagation.divided(time, space)
            else:
                propagation.joint(attended[0], gradients[0])
    return logits.detach(), propagation.relevance()


def label_relevance(loaded: LoadedModel, pixel_values: torch.Tensor, label: int) -> np.ndarray:
    """Computes the relevance of each token for one label of a model, of its network's classifier or of a taught head.

    A taught head reads several views of the clip. The relevance within each view, for the derivative of the logit by
    the features of the view, is added up at the frames that the view shows.

    Args:
        pixel_values, label: as for `class_relevance`.

    Returns:
        As for `rollout`.

    Raises:
        ModelError: the network has no map over the clip.
    """
    network, head = loaded.network, loaded.head
    if head is None:
        return class_relevance(network, pixel_values, label)[1]
    grid = _prepare(network)
    (features,) = view_features(loaded, pixel_values)
    weights = part_gradient(head.weight[label], features, head.assembly)[: head.num_views]
    total = np.zeros((grid.times * grid.frames, grid.rows, grid.columns))
    for frames, weight in zip(view_frames(len(total)), weights, strict=False):
        _, relevance = class_relevance(network, pixel_values[:, frames], weight=weight)
        np.add.at(total, frames, np.repeat(relevance, grid.frames, axis=0))
    tokens: np.ndarray = total.reshape(grid.times, grid.frames, grid.rows, grid.columns).mean(axis=1)
    return tokens


def to_heatmap(relevance: np.ndarray, frames: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Scales a relevance (times, rows, columns), whose tokens span `frames` frames, for an `Explanation`.

    Returns:
        heat: float32 (times * frames, rows, columns), scaled to 0..1 over the clip; all 0 if the relevance is constant.
        frame_importance: float32 (times * frames,), summing to 1; uniform if the relevance is all 0.
    """
    per_frame = np.repeat(relevance.astype(np.float64), frames, axis=0)
    low, high = per_frame.min(), per_frame.max()
    heat = (per_frame - low) / (high - low) if high > low else np.zeros_like(per_frame)
    importance = per_frame.sum(axis=(1, 2))
    total = importance.sum()
    importance = importance / total if total > 0 else np.full_like(importance, 1 / len(importance))
    return heat.astype(np.float32), importance.astype(np.float32)


class _RelevancePropagation:
    """Propagates the relevance of the tokens from the last layer to the first.

    Attributes:
        cls: relevance of the class token, (); always 0 without one.
        patches: relevance of the patches, (T, P).
    """

    def __init__(self, family: Family, grid: Grid, *, mix: float, share: float, like: torch.Tensor) -> None:
        """
        Args:
            mix: weight of the residual and of the attention.
            share: weight of each frame's class token in their mean.
        """
        self.family, self.grid, self.mix, self.share = family, grid, mix, share
        dtype = torch.promote_types(like.dtype, torch.float32)
        shape = (grid.times, grid.rows * grid.columns)
        self.cls = torch.full((), float(family.class_token), dtype=dtype, device=like.device)
        initial = 0.0 if family.class_token else 1 / (shape[0] * shape[1])
        self.patches = torch.full(shape, initial, dtype=dtype, device=like.device)

    def divided(self, time: torch.Tensor, space: torch.Tensor) -> None:
        """Propagates through a layer of divided attention: space first, as the layer ends with it.

        Args:
            time: (P, T, T), without the class token.
            space: (T, 1 + P, 1 + P), with a copy of the class token in each frame.
        """
        cls, patches = self.cls, self.patches
        to_cls = cls * self.share * space[:, 0, 0].sum() + (patches * space[:, 1:, 0]).sum()
        to_patches = cls * self.share * space[:, 0, 1:] + torch.einsum("tp,tpq->tq", patches, space[:, 1:, 1:])
        self.cls = self.mix * (cls + to_cls)
        patches = self.mix * (patches + to_patches)
        self.patches = self.mix * (patches + torch.einsum("tp,pts->sp", patches, time))

    def joint(self, attended: AttentionRecord, gradient: torch.Tensor | None = None) -> None:
        """Propagates through a layer of joint attention over all tokens."""
        time_major, before = self.family.time_major, int(self.family.class_token)
        times, patches = self.patches.shape
        order = self.patches if time_major else self.patches.T
        row = torch.cat([self.cls.expand(before), order.flatten()])  # (N,)
        onward = row.clone()
        for start in range(0, len(row), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            if row[rows].any():  # in the last layer only the class token's row is not 0
                weights = attended.head_average(gradient, rows)[0]  # and it may be the only one computed
                onward += row[rows][: len(weights)] @ weights
        onward = self.mix * onward
        self.cls = onward[:before].sum()
        order = onward[before:]
        self.patches = order.view(times, patches) if time_major else order.view(patches, times).T

    def relevance(self) -> np.ndarray:
        """(times, rows, columns)."""
        relevance: np.ndarray = self.patches.reshape(self.grid.times, self.grid.rows, self.grid.columns).cpu().numpy()
        return relevance


def _prepare(network: PreTrainedModel) -> Grid:
    """Makes the attention of a network recordable, and returns its token grid.

    Raises:
        ModelError: the network has no map over the clip.
    """
    grid = family_of(network.config).grid(network.config)
    use_recorded_attention(network)
    return grid


def layer_output(result: Any) -> torch.Tensor:
    """The output of a layer, (B, N, C); TimeSformer's layers wrap it in a tuple."""
    output: torch.Tensor = result[0] if isinstance(result, tuple) else result
    return output


def _without_values(attended: AttentionRecord) -> AttentionRecord:
    return replace(attended, value=None, context=None)
