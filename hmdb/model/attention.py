"""What the model attended to, and attention that keeps nothing when nobody asks.

`attend` uses torch's fused kernel, or what is faster, and tells a recording. A network calls it once
`hmdb.model.families.fuse` has seen to that, where transformers allows it through its own register of such functions.
A recording belongs to the thread that made it and leaves the network as it is, so that any number of plain and
explained passes may share one network at the same time.

B is the batch, H the heads, N the tokens, D the width of a head, C = H * D.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import AttentionInterface

from hmdb.stopping import check_stopped

PRODUCT_WEIGHTS = 2**22  # of an attention by two products that are in memory at once: 8 MB, for the cache to hold
PRODUCT_ROWS = 512  # of them, more of which gain nothing
SUMS = 1e-30, 1e34  # of exponentials, between which none that counts has become 0 or infinite
SHORT = 256  # tokens; the weights of more are too much to keep for the way back

RECORDED = "recorded"  # name in transformers' register

_this_thread = threading.local()  # .record: what attention modules report to


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


def recorded(
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
    mixed = attend(module, query, key, value, dropout, scaling)
    return mixed.view(*mixed.shape[:-1], query.shape[1], -1), None


AttentionInterface.register(RECORDED, recorded)


def attend(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, scale: float
) -> torch.Tensor:
    """(B, H, N, D) three times -> (B, N, H * D); tells the recording of this thread, if there is one.

    Args:
        module: whose attention it is, for the recording.
        dropout: share of the weights that is dropped.
        scale: of the scores.
    """
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
    batch, heads, queries, _ = query.shape
    tokens = key.shape[2]
    rows = max(min(PRODUCT_WEIGHTS // (batch * tokens), PRODUCT_ROWS), 1)
    some = max(PRODUCT_WEIGHTS // (batch * min(rows, queries) * tokens), 1)
    keys, values = key.contiguous().transpose(-2, -1), value.contiguous()
    context = query.new_empty(batch, queries, heads, value.shape[-1]).transpose(1, 2)  # as `attend` wants it
    for head in range(0, heads, some):
        these = slice(head, head + some)
        for row in range(0, queries, rows):
            part = slice(row, row + rows)
            _mix(query[:, these, part] * scale, keys[:, these], values[:, these], context[:, these, part])
    return context


def _mix(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, context: torch.Tensor) -> None:
    """Scaled (B, heads, rows, D), (B, heads, D, N), (B, heads, N, D) -> (B, heads, rows, D), written into `context`.

    A softmax takes the largest score of a row from all others first, lest `exp` become too large. Where keys have
    nothing in common (`hmdb.model.families.base.level_keys`) that is hardly ever needed, and sums tell where it was.
    """
    scores = query @ keys
    if not torch.is_grad_enabled():
        weights = scores.exp_()
        sums = weights.sum(dim=-1, keepdim=True)
        if sums.amin() > SUMS[0] and sums.amax() < SUMS[1]:
            torch.div(weights @ values, sums, out=context)
            return
        scores = query @ keys
    context.copy_(scores.softmax(dim=-1) @ values)


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
