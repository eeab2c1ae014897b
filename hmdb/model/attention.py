"""Fused attention that can be recorded per thread.

`hmdb.model.families.use_recorded_attention` makes a network call `fused_attention`, through transformers' registry of
attention functions if the network supports it. It uses torch's fused kernel, or a faster one, and reports to the
recording of the current thread, if there is one. A recording does not change the network, so any number of threads may
share one network, recording or not.

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

PRODUCT_WEIGHTS = 2**22  # weights in memory at a time in `_attention_by_matmul`: 8 MB, to fit into the cache
PRODUCT_ROWS = 512  # queries at a time; more are no faster
SAFE_SUMS = 1e-30, 1e34  # bounds of a sum of exponentials without underflow or, for values up to 1e4, overflow
SHORT = 256  # tokens; the weights of more are too large to keep for the backward pass

RECORDED = "recorded"  # name in transformers' registry

_this_thread = threading.local()  # .record: called by attention modules


@dataclass(frozen=True, eq=False)
class AttentionRecord:
    """The projections of an attention module in one pass, and its result before the output projection.

    Attributes:
        query, key, value, context: (B, H, N, D); value and context are None if not needed.
        scale: factor of the scores.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor | None
    context: torch.Tensor | None
    scale: float

    def weights(self, rows: slice = slice(None)) -> torch.Tensor:
        """The attention weights of the queries in `rows`: (B, H, rows, N)."""
        scores = (self.query[:, :, rows] * self.scale) @ self.key.transpose(-2, -1)
        return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(dim=-1)

    def head_average(self, gradient: torch.Tensor | None = None, rows: slice = slice(None)) -> torch.Tensor:
        """The attention averaged over the heads, (B, rows, N); with the gradient of the context, the positive part of
        gradient x attention.

        The context is weights @ value, so the gradient of the weights is gradient @ value^T.
        """
        weights = self.weights(rows)
        if gradient is not None:
            assert self.value is not None  # noqa: S101 - recorded whenever gradients are
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
    """`fused_attention` with the signature of transformers: (B, H, N, D) three times -> ((B, N, H, D), None).

    The mask is ignored: clips have none.
    """
    context = fused_attention(module, query, key, value, dropout, scaling)
    return context.view(*context.shape[:-1], query.shape[1], -1), None


AttentionInterface.register(RECORDED, recorded_attention)


def fused_attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scale: float
) -> torch.Tensor:
    """Scaled dot-product attention, (B, H, N, D) three times -> (B, N, H * D), recorded if this thread records.

    Args:
        module: the attention module, for the recording.
        dropout: fraction of the weights that is dropped.
        scale: factor of the scores.
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
    """True if two matrix products beat torch's fused kernel, which in bfloat16 on a CPU uses no matrix instructions."""
    kept = like.shape[-2] if torch.is_grad_enabled() else 0  # weights of each token, for the backward pass
    return like.dtype == torch.bfloat16 and like.device.type == "cpu" and kept <= SHORT


def _attention_by_matmul(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """(B, H, N, D) three times -> (B, H, N, D), in blocks whose weights fit into the cache."""
    queries, tokens = query.shape[2], max(len(query) * key.shape[2], 1)
    rows = max(min(PRODUCT_WEIGHTS // tokens, PRODUCT_ROWS), 1)
    heads = max(PRODUCT_WEIGHTS // (tokens * min(rows, queries)), 1)
    keys, values = key.contiguous().transpose(-2, -1), value.contiguous()
    traced = torch.is_grad_enabled() or torch.compiler.is_compiling()
    attend = _attention_with_max if traced else _attention_without_max
    blocks = []
    for some_queries, some_keys, some_values in zip(
        *(torch.split(each, heads, dim=1) for each in (query, keys, values)), strict=True
    ):
        parts = [attend(part, some_keys, some_values, scale) for part in torch.split(some_queries, rows, dim=2)]
        blocks.append(_join(parts, dim=2))
    return _join(blocks, dim=1)


def _join(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _attention_with_max(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention by two products: (B, H, rows, D), (B, H, D, N), (B, H, N, D) -> (B, H, rows, D)."""
    return (query * scale @ keys).softmax(dim=-1) @ values


def _attention_without_max(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> torch.Tensor:
    """The same without a gradient, and without subtracting the largest score of each row, which softmax does to prevent
    overflow. Centered keys (`families.base.center_keys`) hardly ever need it; the sum of a row shows where they do, and
    those rows are recomputed. Powers of 2 take a sixth less time than powers of e.
    """
    weights = (query * (scale * math.log2(math.e)) @ keys).exp2_()
    sums = weights.sum(dim=-1, keepdim=True)
    context = (weights @ values).div_(sums)
    safe = (sums > SAFE_SUMS[0]) & (sums < SAFE_SUMS[1])
    return context if safe.all() else torch.where(safe, context, _attention_with_max(query, keys, values, scale))


def _current_recorder() -> Callable[[nn.Module, AttentionRecord], None] | None:
    # A compiled network can be neither recorded nor cancelled.
    if torch.compiler.is_compiling():
        return None
    check_cancelled()
    return getattr(_this_thread, "record", None)


def is_recording() -> bool:
    """True if this thread records attention."""
    return _current_recorder() is not None


@contextmanager
def recording(keep: Callable[[AttentionRecord], Any]) -> Iterator[dict[nn.Module, Any]]:
    """Collects `keep(record)` of each fused attention module that this thread runs, by module."""
    kept: dict[nn.Module, Any] = {}

    def record(module: nn.Module, attention: AttentionRecord) -> None:
        kept[module] = keep(attention)

    before = getattr(_this_thread, "record", None)
    _this_thread.record = record
    try:
        yield kept
    finally:
        _this_thread.record = before
