"""Products of 8-bit integers: the layer that computes them. What they cost a checkpoint is to be measured
(`hmdb.model.precision_cost`).

Weights are rounded once, when the network is loaded, with a scale for each output. What comes in is rounded
as it comes, with a scale for each token, so that an answer does not depend on what else is in its batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

QMAX = 127  # the largest of the whole numbers that are used; the least is -127
ZERO_POINT = 128  # stands for zero among the unsigned ones, which are the ones that the instructions take
CACHE_ELEMENTS = 2**20  # numbers that lie between the steps at once: 4 MB, for the cache to hold
TINY = 1e-12  # the least scale x REACH: what is all zeros stays so

_HALF_UP = torch.tensor(ZERO_POINT + 0.5)  # turns cutting off into rounding


class Int8Linear(nn.Linear):
    """A linear layer that takes any floating dtype, multiplies in int8 and returns `result`.

    On a CPU without the instructions (AVX512-VNNI), and where gradients are asked for, the same rounded
    numbers are multiplied in float32. Rounding counts as no step there: gradients pass it unchanged.

    Attributes:
        weight: int8 (in, out), in oneDNN's arrangement where it multiplies.
        scale: float32 (out,), what the whole numbers of each output stand for.
        bias: float32 (out,).
        result: the dtype of what it returns.
    """

    scale: torch.Tensor
    zeros: torch.Tensor
    result: torch.dtype

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """(..., in) -> (..., out)."""
        if self.weight.layout == torch.strided or torch.is_grad_enabled():
            return self._in_float32(input.float()).to(self.result)
        tokens = input.reshape(-1, self.in_features)
        result = torch.empty(len(tokens), self.out_features, dtype=self.result)
        rows = max(CACHE_ELEMENTS // max(self.in_features, self.out_features), 1)
        for some, place in zip(torch.split(tokens, rows), torch.split(result, rows), strict=True):
            lifted, step = _quantize_tokens(some.float())
            product = torch.ops.onednn.qlinear_pointwise(
                lifted.to(torch.uint8), 1.0, ZERO_POINT, self.weight, self.scale, self.zeros, None, 1.0, 0,
                torch.float32,
                "none", [], "",
            )  # fmt: skip
            if self.result == torch.float32:
                torch.addcmul(self.bias, product, step, out=place)
            else:
                place.copy_(torch.addcmul(self.bias, product, step, out=product))
        return result.view(*input.shape[:-1], -1)

    def _in_float32(self, values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            lifted, step = _quantize_tokens(values)
            error = (lifted.floor_() - ZERO_POINT) * step - values
        return functional.linear(values + error, self.dequantized(), self.bias)

    def dequantized(self) -> torch.Tensor:
        """float32 (out, in): what the rounded weights stand for."""
        return (self.weight.to_dense() * self.scale).t()


def _quantize_tokens(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 (..., in) -> what cut off is the whole numbers plus MIDDLE, and what they stand for, (..., 1)."""
    largest = torch.maximum(values.amax(-1, keepdim=True), -values.amin(-1, keepdim=True))
    step = largest.clamp_(min=TINY).div_(QMAX)
    return torch.addcmul(_HALF_UP, values, step.reciprocal()), step


def to_int8(linear: nn.Linear, result: torch.dtype) -> None:
    """Rounds the weights of a layer on the CPU, in place. It cannot be trained, saved or copied any more.

    Args:
        result: of its products, as `Int8Linear` has it.
    """
    with torch.no_grad():
        scale = linear.weight.abs().amax(1).clamp(min=TINY) / QMAX
        rounded = (linear.weight / scale[:, None]).round().to(torch.int8)
        bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
    layer: Any = linear
    del layer.weight, layer.bias
    layer.__class__ = Int8Linear
    layer.result = result
    # On other CPUs oneDNN has this product too, a thousand times as slow.
    packed = torch.ops.onednn.qlinear_prepack(rounded, None) if has_int8_kernels() else rounded.t()
    values = {"weight": packed, "bias": bias, "scale": scale, "zeros": torch.zeros(len(scale), dtype=torch.int32)}
    for name, value in values.items():
        layer.register_buffer(name, value, persistent=False)


def has_int8_kernels() -> bool:
    """Whether this CPU has instructions for products of int8, and torch a way to them."""
    return bool(torch.cpu._is_vnni_supported()) and hasattr(torch.ops.onednn, "qlinear_pointwise")
