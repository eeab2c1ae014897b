"""Layers of transformers that take less time for the same answer, which `hmdb.model.optimize` puts in place."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers.activations import FastGELUActivation, GELUActivation, GELUTanh, NewGELUActivation

# Those of transformers that torch has as one operation, by how it approximates them there.
GELUS: dict[type[nn.Module], str] = {
    GELUActivation: "none",
    FastGELUActivation: "tanh",
    GELUTanh: "tanh",
    NewGELUActivation: "tanh",
}
BLOCK, MANY_ROWS = 16, 1024  # rows of a product that oneDNN takes together, and from how many on it matters


class InferenceLinear(nn.Linear):
    """A linear layer that takes any floating dtype, multiplies in that of its weight and returns that.

    Attributes:
        gelu: how the GELU that follows is approximated, as torch calls it ("none", "tanh"); None where none does.
    """

    gelu: str | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """(..., in) -> (..., out)."""
        product = functional.linear(input.to(self.weight.dtype), self.weight, self.bias)
        return product if self.gelu is None else functional.gelu(product, approximate=self.gelu)


class OneDnnLinear(InferenceLinear):
    """The same on a CPU by oneDNN, the way that torch's own compiler takes; it has no gradient."""

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
    """The two linear layers of a transformer's MLP and the activation between them, at once: what oneDNN wants added
    to the rows is added once for both.
    """

    def __init__(self, rise: nn.Linear, activation: nn.Module, fall: nn.Linear) -> None:
        super().__init__()
        self.rise, self.activation, self.fall = rise, activation, fall

    def fold_gelu(self, dtype: torch.dtype) -> None:
        """Makes a GELU one operation, or, after an `InferenceLinear`, a part of its product. Others stay as they are.

        Args:
            dtype: of what the products return. In bfloat16 the exact GELU is on average within a tenth of the rounding
                of one approximated by tanh, and is the faster one.
        """
        if type(self.activation) not in GELUS:
            return
        approximate = "none" if dtype == torch.bfloat16 else GELUS[type(self.activation)]
        if isinstance(self.rise, InferenceLinear):
            self.rise.gelu = approximate
            self.activation = nn.Identity()
        else:
            self.activation = nn.GELU(approximate)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., C) -> (..., C)."""
        rows = hidden.reshape(-1, hidden.shape[-1])
        values = pad_to_blocks(rows, self.rise.weight.dtype) if isinstance(self.rise, OneDnnLinear) else rows
        found: torch.Tensor = self.fall(self.activation(self.rise(values)))
        return found[: len(rows)].view(*hidden.shape[:-1], found.shape[-1])


class ClassTokenNorm(nn.LayerNorm):
    """Normalises the class token and drops the other tokens."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """(B, N, C) -> (B, 1, C)."""
        return super().forward(input[:, :1])


def pad_to_blocks(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Rows as oneDNN likes them: (N, C) -> (at least N, C), with rows of zeros at the end.

    It takes a quarter longer for the 3137 tokens of a ViViT-base than for 3136 or 3152.
    """
    missing = -len(values) % BLOCK
    if len(values) < MANY_ROWS or not missing:
        return values.to(dtype)
    padded = values.new_empty(len(values) + missing, values.shape[1], dtype=dtype)
    padded[: len(values)] = values
    padded[len(values) :] = 0
    return padded
