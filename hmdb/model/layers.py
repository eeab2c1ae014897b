"""Faster equivalents of layers, put in place by `hmdb.model.optimize`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers.activations import FastGELUActivation, GELUActivation, GELUTanh, NewGELUActivation

# transformers' activations that torch has as one operation, with torch's name of the approximation.
GELUS: dict[type[nn.Module], str] = {
    GELUActivation: "none",
    FastGELUActivation: "tanh",
    GELUTanh: "tanh",
    NewGELUActivation: "tanh",
}
BLOCK, MANY_ROWS = 16, 1024  # oneDNN processes rows in blocks, which matters from this number of rows on


class InferenceLinear(nn.Linear):
    """A linear layer that takes any floating dtype, and multiplies and returns in the dtype of its weight.

    Attributes:
        gelu: torch's name of the approximation of a fused GELU ("none", "tanh"); None without GELU.
    """

    gelu: str | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """(..., in) -> (..., out)."""
        product = functional.linear(input.to(self.weight.dtype), self.weight, self.bias)
        return product if self.gelu is None else functional.gelu(product, approximate=self.gelu)


class OneDnnLinear(InferenceLinear):
    """The same by oneDNN on a CPU, with the operation that torch's compiler uses; without gradients."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """(..., in) -> (..., out)."""
        if torch.is_grad_enabled():
            return super().forward(input)
        rows = input.reshape(-1, self.in_features)
        values = pad_to_blocks(rows, self.weight.dtype)
        then = "none" if self.gelu is None else "gelu"
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            values, self.weight, self.bias, then, [], self.gelu or ""
        )
        return product[: len(rows)].view(*input.shape[:-1], self.out_features)


class Mlp(nn.Module):
    """A transformer's MLP: two linear layers and the activation between them. The rows are padded once for both."""

    def __init__(self, up: nn.Linear, activation: nn.Module, down: nn.Linear) -> None:
        super().__init__()
        self.up, self.activation, self.down = up, activation, down

    def fold_gelu(self, dtype: torch.dtype) -> None:
        """Makes a GELU one operation or, after an `InferenceLinear`, fuses it into the product. Others stay.

        Args:
            dtype: dtype of the products. In bfloat16 the exact GELU, which is faster, replaces the tanh approximation:
                on average they differ by less than a tenth of the rounding error.
        """
        if type(self.activation) not in GELUS:
            return
        approximate = "none" if dtype == torch.bfloat16 else GELUS[type(self.activation)]
        if isinstance(self.up, InferenceLinear):
            self.up.gelu = approximate
            self.activation = nn.Identity()
        else:
            self.activation = nn.GELU(approximate)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., C) -> (..., C)."""
        rows = hidden.reshape(-1, hidden.shape[-1])
        values = pad_to_blocks(rows, self.up.weight.dtype) if isinstance(self.up, OneDnnLinear) else rows
        result: torch.Tensor = self.down(self.activation(self.up(values)))
        return result[: len(rows)].view(*hidden.shape[:-1], result.shape[-1])


class ClassTokenNorm(nn.LayerNorm):
    """A layer norm that normalizes the class token and drops the other tokens."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """(B, N, C) -> (B, 1, C)."""
        return super().forward(input[:, :1])


def pad_to_blocks(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Pads rows with zeros to a multiple of oneDNN's block: (N, C) -> (at least N, C).

    The 3137 tokens of ViViT-base take a quarter longer than 3136 or 3152.
    """
    missing = -len(values) % BLOCK
    if len(values) < MANY_ROWS or not missing:
        return values.to(dtype)
    padded = values.new_empty(len(values) + missing, values.shape[1], dtype=dtype)
    padded[: len(values)] = values
    padded[len(values) :] = 0
    return padded
