"""What the model attended to, and attention that keeps nothing when nobody asks.

`fuse` gives the attention modules of a network a forward pass that uses torch's fused kernel and
that a recording can listen to. A recording belongs to the thread that made it and leaves the network
as it is, so that any number of plain and explained passes may share one network at the same time.

Two maps, both as the relevance of each token for the class token:

- `rollout`: attention rollout (Abnar & Zuidema 2020). Each attention, averaged over its heads, is mixed
  half and half with the residual beside it; the class token's row is carried through from the last layer
  to the first. It does not depend on a label.
- `class_relevance`: the same with gradient x attention of one label's logit, its positive part averaged
  over the heads, in place of attention (Chefer et al. 2021, "Generic Attention-model Explainability").

Divided space-time attention is two attentions in a layer, over time and then over space; the row goes
back through both without ever forming the (1 + P * T)^2 matrix that they amount to. P is the number of
patches in a frame, T of moments in time, H of heads, N of tokens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.models.timesformer.modeling_timesformer import TimesformerSelfAttention
from transformers.models.vivit.modeling_vivit import VivitAttention

from hmdb.clip import Prediction
from hmdb.errors import ModelError

PRODUCT_WEIGHTS = 2**22  # of an attention by two products that are in memory at once: 8 MB, for the cache to hold
PRODUCT_ROWS = 256  # of them, more of which gain nothing
SHORT = 256  # tokens; the weights of more are too much to keep for the way back
BLOCK_ROWS = 256  # of a joint attention that are in memory at once: 39 MB of ViViT-base's 472

Network = TypeVar("Network", bound=nn.Module)

_this_thread = threading.local()  # .record: what attention modules report to; .check: what they ask before they go on


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """An answer and where the model looked for it.

    Attributes:
        prediction: the answer; its clip has the T frames.
        label: the label that the map is about; None for rollout, which is about none.
        heat: float32 (T, rows, columns), 0 at the least and 1 at the most relevant patch of the clip.
        frame_importance: float32 (T,), each frame's share of the relevance; sums to 1.
        region: (top, left, bottom, right) of what the model sees of a frame, as fractions of its height
            and width: where the heat belongs. (0, 0, 1, 1) unless the checkpoint crops.
    """

    prediction: Prediction
    label: str | None
    heat: np.ndarray
    frame_importance: np.ndarray
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """The map and the answer it belongs to, without pixels, ready for JSON."""
        return {
            "about": self.label,
            "frame_importance": [round(float(share), 4) for share in self.frame_importance],
            "heat": self.heat.round(3).tolist(),
            "region": list(self.region),
            "answer": self.prediction.to_dict(),
        }


@dataclass(frozen=True)
class Grid:
    """How the tokens of a network lie in its clip: `times` x `rows` x `columns` of them, each over
    `frames` frames and `patch` = (height, width) pixels.
    """

    times: int
    rows: int
    columns: int
    frames: int
    patch: tuple[int, int]


def grid(config: Any) -> Grid:
    """The token grid of a TimeSformer or ViViT configuration.

    Raises:
        ModelError: another family, or one whose classifier sees single frames ("space_only").
    """
    if config.model_type == "timesformer":
        if config.attention_type == "space_only":
            raise ModelError("A TimeSformer with space_only attention sees single frames; it has no map over a clip.")
        frames, patch = 1, (config.patch_size, config.patch_size)
    elif config.model_type == "vivit":
        frames, *sides = config.tubelet_size
        patch = (sides[0], sides[1])
    else:
        raise ModelError(f"There is no attention map for a {config.model_type} model, only for timesformer and vivit.")
    side = config.image_size
    return Grid(config.num_frames // frames, side // patch[0], side // patch[1], frames, patch)


def fuse(network: Network) -> Network:
    """Gives the attention modules of a TimeSformer or ViViT, in place, the forward passes below.

    Logits stay the same to 1e-4, training and dropout work as before, and so does asking for
    output_attentions. Parameters and their names do not change. Repeating it does nothing.

    Returns:
        The network.
    """
    for module in network.modules():
        if type(module) in _FUSED:
            module.__class__ = _FUSED[type(module)]
    return network


@dataclass(frozen=True, eq=False)
class Attended:
    """One attention module in one pass: its projections and its result before the output projection.

    Attributes:
        query, key, value, context: (B, H, N, D); the last two are dropped where not needed.
        scale: of the scores.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor | None
    context: torch.Tensor | None
    scale: float

    def weights(self, rows: slice = slice(None)) -> torch.Tensor:
        """The attention of some of the queries: (B, H, rows, N)."""
        scores = (self.query[:, :, rows] * self.scale) @ self.key.transpose(-2, -1)
        return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(dim=-1)

    def averaged(self, gradient: torch.Tensor | None = None, rows: slice = slice(None)) -> torch.Tensor:
        """The attention averaged over the heads, or, given the gradient of the context, the positive
        part of gradient x attention: (B, rows, N).

        The context is weights @ value, so the gradient of the weights is gradient @ value^T.
        """
        weights = self.weights(rows)
        if gradient is not None:
            assert self.value is not None  # noqa: S101 - kept with every gradient
            weights = (weights * (gradient[:, :, rows] @ self.value.transpose(-2, -1))).clamp(min=0)
        return weights.mean(dim=1)


class FusedSelfAttention(TimesformerSelfAttention):
    """TimeSformer's attention through torch's fused kernel; transformers has the eager one alone."""

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False) -> tuple[torch.Tensor, ...]:
        """(B, N, C) -> ((B, N, C),)."""
        if output_attentions:
            eager: tuple[torch.Tensor, ...] = super().forward(hidden_states, output_attentions)
            return eager
        projected = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, -1))  # (B, N, 3, H, D)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        dropout = self.attn_drop.p if self.training else 0.0
        return (_attend(self, query, key, value, dropout, self.scale),)


class RecordedVivitAttention(VivitAttention):
    """ViViT's attention, which is fused already and takes another way in a recording, or where one is faster."""

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """(B, N, C) -> ((B, N, C), the attention or None)."""
        if _recorder() is None and self.q_proj.weight.dtype == torch.float32:
            return super().forward(hidden_states, attention_mask, **kwargs)
        query, key, value = (
            projection(hidden_states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, H, N, D)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        dropout = self.attention_dropout if self.training else 0.0
        return self.o_proj(_attend(self, query, key, value, dropout, self.scaling)), None


_FUSED: dict[type, type] = {TimesformerSelfAttention: FusedSelfAttention, VivitAttention: RecordedVivitAttention}


def _attend(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scale: float
) -> torch.Tensor:
    """(B, H, N, D) three times -> (B, N, H * D); tells the recording of this thread, if there is one."""
    if _by_products(query) and not dropout:
        context = _attend_by_products(query, key, value, scale)
    else:
        context = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=scale)
    record = _recorder()
    if record is not None:
        record(module, Attended(query, key, value, context, scale))
    return context.transpose(1, 2).flatten(2)


def _by_products(like: torch.Tensor) -> bool:
    """Whether torch's fused kernel is the slower one: for bfloat16 on a CPU, where it has no matrix instructions."""
    kept = like.shape[-2] if torch.is_grad_enabled() else 0  # weights of each token, for the way back
    return like.dtype == torch.bfloat16 and like.device.type == "cpu" and kept <= SHORT


def _attend_by_products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """(B, H, N, D) three times -> (B, H, N, D), in parts whose weights stay in the cache."""
    batch, _, tokens, _ = query.shape
    rows = max(min(PRODUCT_WEIGHTS // (batch * tokens), PRODUCT_ROWS), 1)
    heads = max(PRODUCT_WEIGHTS // (batch * min(rows, tokens) * tokens), 1)
    keys, values = key.transpose(-2, -1).contiguous(), value.contiguous()
    found = []
    for some, theirs, of_these in zip(
        *(torch.split(each, heads, dim=1) for each in (query, keys, values)), strict=True
    ):
        parts = [((part * scale) @ theirs).softmax(dim=-1) @ of_these for part in torch.split(some, rows, dim=2)]
        found.append(torch.cat(parts, dim=2))
    return torch.cat(found, dim=1)


def _recorder() -> Callable[[nn.Module, Attended], None] | None:
    # A compiled network cannot be recorded or stopped; its graph need not know of either.
    if torch.compiler.is_compiling():
        return None
    check = getattr(_this_thread, "check", None)
    if check is not None:
        check()
    return getattr(_this_thread, "record", None)


@contextmanager
def stoppable(check: Callable[[], None]) -> Iterator[None]:
    """Calls `check` at each attention that this thread runs; what it raises ends the pass right there.

    A thread cannot be ended from outside, and a large network takes seconds: so it asks.
    """
    before = getattr(_this_thread, "check", None)
    _this_thread.check = check
    try:
        yield
    finally:
        _this_thread.check = before


@contextmanager
def recording(keep: Callable[[Attended], Any]) -> Iterator[dict[nn.Module, Any]]:
    """Keeps `keep(attended)` of each fused attention module that this thread runs, by module."""
    kept: dict[nn.Module, Any] = {}

    def record(module: nn.Module, attended: Attended) -> None:
        kept[module] = keep(attended)

    before = getattr(_this_thread, "record", None)
    _this_thread.record = record
    try:
        yield kept
    finally:
        _this_thread.record = before


def rollout(network: PreTrainedModel, pixel_values: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """The answer and the attention rollout of the class token, in one pass.

    Of each layer only what the way back needs is kept: of TimeSformer the head-averaged maps (1.3 MB a
    layer of TimeSformer-base), of joint attention the queries and keys (19 MB a layer of ViViT-base), from
    which its rows are made again, a block at a time.

    Args:
        network: a TimeSformer or ViViT classifier in eval mode. It is fused if it is not yet.
        pixel_values: (1, frames, 3, height, width), on the network's device.

    Returns:
        The logits, (labels,), and the relevance of each token, (times, rows, columns) of `grid`, at least 0.
        With what stays on the class token itself it would sum to 1.

    Raises:
        ModelError: no map can be made for this kind of network.
    """
    parts = _Parts.of(network)
    keep = Attended.averaged if parts.divided else _without_values
    with torch.no_grad():
        with recording(keep) as kept:
            logits = network(pixel_values=pixel_values).logits[0]
        walk = _Walk(parts, mix=0.5, share=1 / parts.grid.times, like=pixel_values)
        for layer in reversed(parts.layers):
            modules = parts.attentions(layer)
            if parts.divided:
                time, space = (kept.pop(module) for module in modules)
                walk.divided(time, space)
            else:
                walk.joint(kept.pop(modules[0]))
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
    parts = _Parts.of(network)
    inputs: list[torch.Tensor] = []
    with torch.no_grad():
        hidden = parts.embed(pixel_values)  # (1, N, C)
        for layer in parts.layers:
            inputs.append(hidden)
            hidden = _output(layer(hidden))
    with torch.enable_grad():
        hidden = hidden.detach().requires_grad_()
        logits = parts.classify(hidden)[0]  # (labels,)
        target = logits[int(logits.argmax()) if label is None else label]
        (gradient,) = torch.autograd.grad(target, [hidden])
    # The gradient of each frame's copy of the class token already has the 1 / T of their mean.
    walk = _Walk(parts, mix=1.0, share=1.0, like=pixel_values)
    for layer in reversed(parts.layers):
        with torch.enable_grad(), recording(lambda attended: attended) as kept:
            hidden = inputs.pop().detach().requires_grad_()
            output = _output(layer(hidden))
        attended: list[Attended] = [kept[module] for module in parts.attentions(layer)]
        contexts = [each.context for each in attended if each.context is not None]
        gradient, *gradients = torch.autograd.grad(output, [hidden, *contexts], gradient)
        with torch.no_grad():
            if parts.divided:
                time, space = (each.averaged(grad) for each, grad in zip(attended, gradients, strict=True))
                walk.divided(time, space)
            else:
                walk.joint(attended[0], gradients[0])
    return logits.detach(), walk.relevance()


def normalized(relevance: np.ndarray, frames: int = 1) -> tuple[np.ndarray, np.ndarray]:
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


class _Walk:
    """Carries the class token's row from the last layer to the first.

    Attributes:
        cls: what lies on the class token, ().
        patches: what lies on the patches, (T, P).
    """

    def __init__(self, parts: _Parts, *, mix: float, share: float, like: torch.Tensor) -> None:
        """
        Args:
            mix: of the residual and of the attention beside it.
            share: of each frame's class token in the one class token that they are made from.
        """
        self.grid, self.time_major, self.mix, self.share = parts.grid, parts.time_major, mix, share
        dtype = torch.promote_types(like.dtype, torch.float32)
        self.cls = torch.ones((), dtype=dtype, device=like.device)
        self.patches = torch.zeros(self.grid.times, self.grid.rows * self.grid.columns, dtype=dtype, device=like.device)

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

    def joint(self, attended: Attended, gradient: torch.Tensor | None = None) -> None:
        """Back through one layer whose tokens all attend to one another."""
        order = self.patches if self.time_major else self.patches.T
        row = torch.cat([self.cls[None], order.flatten()])  # (N,)
        onward = row.clone()
        for start in range(0, len(row), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            if row[rows].any():  # in the last layer only the class token's row counts
                onward += row[rows] @ attended.averaged(gradient, rows)[0]
        self.cls, order = self.mix * onward[0], self.mix * onward[1:]
        times, patches = self.patches.shape
        self.patches = order.view(times, patches) if self.time_major else order.view(patches, times).T

    def relevance(self) -> np.ndarray:
        """(times, rows, columns)."""
        relevance: np.ndarray = self.patches.reshape(self.grid.times, self.grid.rows, self.grid.columns).cpu().numpy()
        return relevance


@dataclass(frozen=True, eq=False)
class _Parts:
    """A network taken apart in the same way for both families."""

    embed: Callable[[torch.Tensor], torch.Tensor]
    layers: list[nn.Module]
    classify: Callable[[torch.Tensor], torch.Tensor]
    grid: Grid
    divided: bool
    time_major: bool  # token 1 + t * P + p, as in ViViT; 1 + p * T + t in TimeSformer

    @classmethod
    def of(cls, network: PreTrainedModel) -> _Parts:
        where = grid(network.config)
        fuse(network)
        timesformer = network.config.model_type == "timesformer"
        base: Any = network.base_model
        classifier: Any = network.classifier
        return cls(
            embed=base.embeddings,
            layers=list(base.encoder.layer if timesformer else base.layers),
            classify=lambda hidden: classifier(base.layernorm(hidden)[:, 0]),
            grid=where,
            divided=timesformer and network.config.attention_type == "divided_space_time",
            time_major=not timesformer,
        )

    def attentions(self, layer: Any) -> list[nn.Module]:
        """The attention modules of a layer in the order in which they run."""
        if self.time_major:
            return [layer.attention]
        space = layer.attention.attention
        return [layer.temporal_attention.attention, space] if self.divided else [space]


def _output(result: Any) -> torch.Tensor:
    """What a layer hands on; TimeSformer's wrap it in a tuple."""
    output: torch.Tensor = result[0] if isinstance(result, tuple) else result
    return output


def _without_values(attended: Attended) -> Attended:
    return replace(attended, value=None, context=None)
