"""How a network is computed: its own answer, in fewer and cheaper operations.

`optimize_for_inference` changes a network in place, for answering alone:

- Its linear layers multiply as a short measurement found to be fastest on this CPU: by oneDNN or, as torch does by
  itself, by MKL, and in bfloat16 where that was asked for or saves much.
- In bfloat16 they have bfloat16 weights. What lies between them stays float32: residuals,
  normalisation, embeddings, the classifier and its logits. In int8 what is rounded to 8 bits is their weights
  and their inputs; what they return is of the dtype that "auto" would take by its width alone.
- What a family can do in fewer operations is done so (`Family.fuse_layer`).
- The GELU of an MLP is computed by the product before it, except in int8, where it is an operation of its own
  (`hmdb.model.layers.Mlp`).
- Where a class token answers, the last layer's MLP is computed for it alone, since nothing else of it is read, and
  so is its attention, where it is over all tokens and that is much (`Family.prune_last_attention`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from hmdb.errors import ModelError
from hmdb.machine import one_thread
from hmdb.model.families import family_of
from hmdb.model.int8 import Int8Linear, to_int8
from hmdb.model.layers import ClassTokenNorm, InferenceLinear, Mlp, OneDnnLinear
from hmdb.model.precision_cost import PrecisionCost

DTYPES = ("auto", "float32", "bfloat16", "int8")
MIN_WIDTH_FOR_BF16 = 512  # hidden size, below which bfloat16 may move answers more than anybody has measured
ROUNDS, TOKENS = 3, 1024  # of a measurement; of the products that are measured: with few, oneDNN looks too good
REQUIRED_SPEEDUP = 0.95  # of the time of the usual product is what another must need, lest noise decide
BF16_REQUIRED_SPEEDUP = 0.8  # likewise of float32: it moves answers


def optimize_for_inference(
    network: PreTrainedModel, dtype: str = "auto", bfloat16_cost: PrecisionCost | None = None
) -> PreTrainedModel:
    """Makes a fused classifier answer faster. It cannot be trained or saved any more.

    Answers in float32 stay the same to 1e-4. In bfloat16 logits move by about 1 % of their range, in int8 by
    as much as the checkpoint makes of it, which is to be measured.

    Args:
        dtype: of the products: "float32", "bfloat16", "int8" (on a CPU), or "auto", which is bfloat16 on a CPU
            that is measured to be faster by it, for a network that loses at most half a point of top-1 by it, else
            float32. The same dtype and product give the same answer each time; another product moves float32 logits
            by about 1e-6.
        bfloat16_cost: what it loses; where nobody has measured that, a wide network counts as one that loses little.

    Returns:
        The network.

    Raises:
        ModelError: no such dtype, or int8 elsewhere than on a CPU, or a network that has been through this.
    """
    if dtype not in DTYPES:
        raise ModelError(f"The dtype must be one of {', '.join(DTYPES)}, not {dtype!r}.")
    config: Any = network.config
    product = MatmulKernel(InferenceLinear, torch.float32)
    if network.device.type == "cpu":
        holds: bool = config.hidden_size >= MIN_WIDTH_FOR_BF16
        if bfloat16_cost and dtype == "auto":
            holds = bfloat16_cost.within_tolerance("bfloat16")
        asked = {"float32": False, "bfloat16": True}.get(dtype, None if holds else False)
        product = fastest_kernel(config.hidden_size, config.intermediate_size, bfloat16=asked)
    elif dtype == "bfloat16":
        product = MatmulKernel(InferenceLinear, torch.bfloat16)
    if dtype == "int8" and network.device.type != "cpu":
        raise ModelError(f"int8 is for a CPU, and the model is on {network.device}: take another dtype or device.")
    family = family_of(config)
    layers = family.layers(network)
    if any(isinstance(module, Mlp) for module in layers.modules()):
        raise ModelError("The network is optimized for inference already. Load it again for another dtype.")
    with torch.no_grad():
        for layer in layers:
            family.fuse_layer(layer)
    if family.class_token:
        layers[-1].layernorm_after.__class__ = ClassTokenNorm
        family.prune_last_attention(layers[-1])
    for module in layers.modules():
        if type(module) is nn.Linear and dtype == "int8":
            to_int8(module, product.dtype)
        elif type(module) is nn.Linear:
            module.__class__ = product.layer
            module.to(product.dtype)
    for module in layers.modules():
        if isinstance(module, Mlp):
            module.fold_gelu(product.dtype)
    return network


def precision_of(network: PreTrainedModel) -> str:
    """The dtype of the products of a network, optimized for inference or not: "float32", "bfloat16", "int8", ..."""
    for module in network.modules():
        if isinstance(module, InferenceLinear | Int8Linear):
            return str(module.weight.dtype).removeprefix("torch.")
    return str(network.dtype).removeprefix("torch.")


def weight_bytes(network: PreTrainedModel) -> int:
    """What the weights of a network take in memory."""
    return sum(each.nbytes for each in (*network.parameters(), *network.buffers()))


class MatmulKernel(NamedTuple):
    """A way to multiply: by which layer, and in which dtype."""

    layer: type[InferenceLinear]
    dtype: torch.dtype


@lru_cache
def fastest_kernel(inner: int, outer: int, *, bfloat16: bool | None) -> MatmulKernel:
    """The product that a short measurement on this CPU finds to be fastest.

    Which one that is differs between CPUs by a factor of two and more, in both directions, whatever instructions
    they say they have.

    Args:
        inner, outer: width of what comes in and of what goes out.
        bfloat16: whether to multiply in bfloat16; None for where it pays.
    """
    by_onednn = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    layers = (OneDnnLinear, InferenceLinear) if by_onednn else (InferenceLinear,)
    if bfloat16:
        return MatmulKernel(layers[0], torch.bfloat16)
    exact = [MatmulKernel(layer, torch.float32) for layer in layers]
    rounded = [MatmulKernel(layers[0], torch.bfloat16)] if bfloat16 is None and has_fast_bfloat16() else []
    if len(exact + rounded) == 1:
        return exact[0]
    taken = time_kernels([*exact, *rounded], inner, outer)
    best = min(exact, key=lambda product: taken[product] * (REQUIRED_SPEEDUP if product == exact[0] else 1))
    return next((product for product in rounded if taken[product] < BF16_REQUIRED_SPEEDUP * taken[best]), best)


def time_kernels(products: Sequence[MatmulKernel], inner: int, outer: int) -> dict[MatmulKernel, float]:
    """How long each keeps this thread busy at best, in turn; what else the machine does counts little.

    One thread alone: of two, one would be busy waiting for the other, which other work keeps from its core.
    """
    values = torch.randn(TOKENS, inner)
    layers = {}
    for product in products:
        layers[product] = nn.Linear(inner, outer, dtype=product.dtype)
        layers[product].__class__ = product.layer
    taken = dict.fromkeys(products, float("inf"))
    with one_thread(), torch.inference_mode():
        for layer in layers.values():
            layer(values)  # it is built at its first call
        for _ in range(ROUNDS):
            for product, layer in layers.items():
                began = time.thread_time()
                layer(values)
                taken[product] = min(taken[product], time.thread_time() - began)
    return taken


def has_fast_bfloat16() -> bool:
    """Whether this CPU has instructions for products of bfloat16."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
