"""What the model attended to, and attention that keeps nothing when nobody asks.

`fuse` gives the attention modules of a network a forward pass that uses torch's fused kernel and
that a recording can listen to. A recording belongs to the thread that made it and leaves the network
as it is, so that any number of plain and explained passes may share one network at the same time.

B is the batch, H the heads, N the tokens, D the width of a head, C = H * D.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional
from transformers.models.timesformer.modeling_timesformer import TimesformerSelfAttention
from transformers.models.vivit.modeling_vivit import VivitAttention

from hmdb.errors import ModelError
from hmdb.stopping import check_stopped

PRODUCT_WEIGHTS = 2**22  # of an attention by two products that are in memory at once: 8 MB, for the cache to hold
PRODUCT_ROWS = 256  # of them, more of which gain nothing
SHORT = 256  # tokens; the weights of more are too much to keep for the way back

Network = TypeVar("Network", bound=nn.Module)

_this_thread = threading.local()  # .record: what attention modules report to


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
    check_stopped()
    return getattr(_this_thread, "record", None)


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
