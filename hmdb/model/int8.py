"""Linear layers in int8. Their cost in accuracy has to be measured for each checkpoint (`hmdb.model.precision_cost`).

Weights are quantized once, when the network is loaded, with a scale for each output. Inputs are quantized as they come,
with a scale for each token, so that a result does not depend on the rest of its batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

QMAX = 127  # largest quantized value; the smallest is -127
ZERO_POINT = 128  # zero of the inputs, which the instructions take as unsigned
CACHE_ELEMENTS = 2**20  # intermediate values at a time: 4 MB, to fit into the cache
TINY = 1e-12  # smallest scale * QMAX, so that zeros stay zeros

_HALF_UP = torch.tensor(ZERO_POINT + 0.5)  # turns truncation into rounding


class Int8Linear(nn.Linear):
    """A linear layer that takes any floating dtype, multiplies in int8 and returns `result`.

    On a CPU without the instructions (AVX512-VNNI), and when gradients are computed, the same quantized values are
    multiplied in float32; gradients pass the rounding unchanged (straight-through).

    Attributes:
        weight: int8 (in, out); in oneDNN's packed layout if oneDNN multiplies.
        scale: float32 (out,), the step of each output's weights.
        bias: float32 (out,).
        result: dtype of the output.
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
        for part, out in zip(torch.split(tokens, rows), torch.split(result, rows), strict=True):
            shifted, step = _quantize_tokens(part.float())
            product = torch.ops.onednn.qlinear_pointwise(
                shifted.to(torch.uint8), 1.0, ZERO_POINT, self.weight, self.scale, self.zeros, None, 1.0, 0,
                torch.float32,
                "none", [], "",
            )  # fmt: skip
            if self.result == torch.float32:
                torch.addcmul(self.bias, product, step, out=out)
            else:
                out.copy_(torch.addcmul(self.bias, product, step, out=product))
        return result.view(*input.shape[:-1], -1)

    def _in_float32(self, values: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            shifted, step = _quantize_tokens(values)
            error = (shifted.floor_() - ZERO_POINT) * step - values
        return functional.linear(values + error, self.dequantized(), self.bias)

    def dequantized(self) -> torch.Tensor:
        """The quantized weights in float32 (out, in)."""
        return (self.weight.to_dense() * self.scale).t()


def _quantize_tokens(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 (..., in) -> values whose integer part is the quantized input plus ZERO_POINT, and the step, (..., 1)."""
    largest = torch.maximum(values.amax(-1, keepdim=True), -values.amin(-1, keepdim=True))
    step = largest.clamp_(min=TINY).div_(QMAX)
    return torch.addcmul(_HALF_UP, values, step.reciprocal()), step


def to_int8(linear: nn.Linear, result: torch.dtype) -> None:
    """Quantizes a layer on the CPU, in place. It can no longer be trained, saved or copied.

    Args:
        result: as in `Int8Linear`.
    """
    with torch.no_grad():
        scale = linear.weight.abs().amax(1).clamp(min=TINY) / QMAX
        rounded = (linear.weight / scale[:, None]).round().to(torch.int8)
        bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
    layer: Any = linear
    del layer.weight, layer.bias
    layer.__class__ = Int8Linear
    layer.result = result
    # oneDNN supports this product on other CPUs too, but a thousand times slower.
    packed = torch.ops.onednn.qlinear_prepack(rounded, None) if has_int8_kernels() else rounded.t()
    values = {"weight": packed, "bias": bias, "scale": scale, "zeros": torch.zeros(len(scale), dtype=torch.int32)}
    for name, value in values.items():
        layer.register_buffer(name, value, persistent=False)


def has_int8_kernels() -> bool:
    """True if this CPU has instructions for int8 products that torch can use."""
    return bool(torch.cpu._is_vnni_supported()) and hasattr(torch.ops.onednn, "qlinear_pointwise")
