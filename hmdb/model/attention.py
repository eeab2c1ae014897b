"""What the model attended to, and attention that keeps nothing when nobody asks.

`attend` uses torch's fused kernel, or what is faster, and tells a recording. A network calls it once
`hmdb.model.families.use_recorded_attention` has seen to that, where transformers allows it through its own register of
such functions.
A recording belongs to the thread that made it and leaves the network as it is, so that any number of plain and
explained passes may share one network at the same time.

B is the batch, H the heads, N the tokens, D the width of a head, C = H * D.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface

from hmdb.cancellation import check_cancelled

PRODUCT_WEIGHTS = 2**22  # of an attention by two products that are in memory at once: 8 MB, for the cache to hold
PRODUCT_ROWS = 512  # queries at once; more of them gain nothing
SAFE_SUMS = 1e-30, 1e34  # of exponentials: none that counts has become 0, and values up to 1e4 none infinite
SHORT = 256  # tokens; the weights of more are too much to keep for the way back

RECORDED = "recorded"  # name in transformers' register

_this_thread = threading.local()  # .record: what attention modules report to


@dataclass(frozen=True, eq=False)
class AttentionRecord:
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

    def head_average(self, gradient: torch.Tensor | None = None, rows: slice = slice(None)) -> torch.Tensor:
        """The attention averaged over the heads, or, given the gradient of the context, the positive
        part of gradient x attention: (B, rows, N).

        The context is weights @ value, so the gradient of the weights is gradient @ value^T.
        """
        weights = self.weights(rows)
        if gradient is not None:
            assert self.value is not None  # noqa: S101 - kept with every gradient
            weights = (weights * (gradient[:, :, rows] @ self.value.transpose(-2, -1))).clamp(min=0)
        return weights.mean(dim=1)


def recorded_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """(B, H, N, D) three times -> ((B, N, H, D), no weights); as transformers calls it. Clips have no mask."""
    mixed = fused_attention(module, query, key, value, dropout, scaling)
    return mixed.view(*mixed.shape[:-1], query.shape[1], -1), None


AttentionInterface.register(RECORDED, recorded_attention)


def fused_attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scale: float
) -> torch.Tensor:
    """(B, H, N, D) three times -> (B, N, H * D); tells the recording of this thread, if there is one.

    Args:
        module: whose attention it is, for the recording.
        dropout: share of the weights that is dropped.
        scale: of the scores.
    """
    if _matmul_pays(query) and not dropout:
        context = _attention_by_matmul(query, key, value, scale)
    else:
        context = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=scale)
    record = _current_recorder()
    if record is not None:
        record(module, AttentionRecord(query, key, value, context, scale))
    return context.transpose(1, 2).flatten(2)


def _matmul_pays(like: torch.Tensor) -> bool:
    """Whether torch's fused kernel is the slower one: for bfloat16 on a CPU, where it has no matrix instructions."""
    kept = like.shape[-2] if torch.is_grad_enabled() else 0  # weights of each token, for the way back
    return like.dtype == torch.bfloat16 and like.device.type == "cpu" and kept <= SHORT


def _attention_by_matmul(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """(B, H, N, D) three times -> (B, H, N, D), in parts whose weights stay in the cache."""
    queries, tokens = query.shape[2], max(len(query) * key.shape[2], 1)
    rows = max(min(PRODUCT_WEIGHTS // tokens, PRODUCT_ROWS), 1)
    heads = max(PRODUCT_WEIGHTS // (tokens * min(rows, queries)), 1)
    keys, values = key.contiguous().transpose(-2, -1), value.contiguous()
    traced = torch.is_grad_enabled() or torch.compiler.is_compiling()
    mix = _attention_with_max if traced else _attention_without_max
    found = []
    for some, theirs, of_these in zip(
        *(torch.split(each, heads, dim=1) for each in (query, keys, values)), strict=True
    ):
        found.append(
            _merge_heads([mix(part, theirs, of_these, scale) for part in torch.split(some, rows, dim=2)], dim=2)
        )
    return _merge_heads(found, dim=1)


def _merge_heads(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _attention_with_max(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """(B, H, rows, D), (B, H, D, N), (B, H, N, D) -> (B, H, rows, D)."""
    return (query * scale @ keys).softmax(dim=-1) @ values


def _attention_without_max(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """The same without a gradient, and without what a softmax does first: it takes the largest score of a row from all
    others, lest `exp` become too large. Keys that have nothing in common (`families.base.center_keys`) hardly
    ever need that, and the sum of a row tells where they did. Powers of two take a sixth less time than those of e.
    """
    weights = (query * (scale * math.log2(math.e)) @ keys).exp2_()
    sums = weights.sum(dim=-1, keepdim=True)
    mixed = (weights @ values).div_(sums)
    safe = (sums > SAFE_SUMS[0]) & (sums < SAFE_SUMS[1])
    return mixed if safe.all() else torch.where(safe, mixed, _attention_with_max(query, keys, values, scale))


def _current_recorder() -> Callable[[nn.Module, AttentionRecord], None] | None:
    # A compiled network cannot be recorded or stopped; its graph need not know of either.
    if torch.compiler.is_compiling():
        return None
    check_cancelled()
    return getattr(_this_thread, "record", None)


@contextmanager
def recording(keep: Callable[[AttentionRecord], Any]) -> Iterator[dict[nn.Module, Any]]:
    """Keeps `keep(attended)` of each fused attention module that this thread runs, by module."""
    kept: dict[nn.Module, Any] = {}

    def record(module: nn.Module, attended: AttentionRecord) -> None:
        kept[module] = keep(attended)

    before = getattr(_this_thread, "record", None)
    _this_thread.record = record
    try:
        yield kept
    finally:
        _this_thread.record = before
