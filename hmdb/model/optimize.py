"""Optimizes a network for inference: the same result in fewer and cheaper operations.

`optimize_for_inference` changes a network in place:

- Linear layers use the kernel that a short measurement finds fastest on this CPU: oneDNN or MKL (torch's default), and
  bfloat16 if requested or much faster.
- In bfloat16, only the linear layers have bfloat16 weights. Residuals, normalization, embeddings, the classifier and
  the logits stay float32. In int8, their weights and inputs are quantized; their outputs have the dtype that "auto"
  would choose by the width of the network alone.
- Operations of a layer are fused (`Family.fuse_layer`).
- The GELU of an MLP is fused into the product before it, or one operation in int8 (`hmdb.model.layers.Mlp`).
- With a class token, the last layer computes its MLP, and joint attention (`Family.prune_last_attention`), for the
  class token alone.
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
MIN_WIDTH_FOR_BF16 = 512  # hidden size of the networks that use bfloat16 without a measured cost
ROUNDS, TOKENS = 3, 1024  # of the measurement; with few tokens oneDNN looks too good
REQUIRED_SPEEDUP = 0.95  # relative time at which another kernel beats the default, despite noise
BF16_REQUIRED_SPEEDUP = 0.8  # the same for bfloat16 relative to float32, as it changes logits


def optimize_for_inference(
    network: PreTrainedModel, dtype: str = "auto", bfloat16_cost: PrecisionCost | None = None
) -> PreTrainedModel:
    """Makes a classifier faster, in place. It can no longer be trained or saved.

    Logits in float32 stay the same to 1e-4. In bfloat16 they change by about 1 % of their range; in int8 the change
    depends on the checkpoint and has to be measured.

    Args:
        network: a classifier with recorded attention (`hmdb.model.families.use_recorded_attention`).
        dtype: precision of the products: "float32", "bfloat16", "int8" (CPU only), or "auto". "auto" is bfloat16 on a
            CPU that is measured to be faster with it, for a network that loses at most half a point of top-1 accuracy,
            and float32 otherwise. Results are reproducible for a given dtype and kernel; another kernel changes float32
            logits by about 1e-6.
        bfloat16_cost: measured cost of bfloat16. Without it, "auto" assumes that wide networks lose little.

    Returns:
        The network.

    Raises:
        ModelError: the dtype is unknown, int8 is requested off the CPU, or the network is optimized already.
    """
    if dtype not in DTYPES:
        raise ModelError(f"The dtype must be one of {', '.join(DTYPES)}, not {dtype!r}.")
    config: Any = network.config
    kernel = MatmulKernel(InferenceLinear, torch.float32)
    if network.device.type == "cpu":
        tolerated: bool = config.hidden_size >= MIN_WIDTH_FOR_BF16
        if bfloat16_cost and dtype == "auto":
            tolerated = bfloat16_cost.within_tolerance("bfloat16")
        bfloat16 = {"float32": False, "bfloat16": True}.get(dtype, None if tolerated else False)
        kernel = fastest_kernel(config.hidden_size, config.intermediate_size, bfloat16=bfloat16)
    elif dtype == "bfloat16":
        kernel = MatmulKernel(InferenceLinear, torch.bfloat16)
    if dtype == "int8" and network.device.type != "cpu":
        raise ModelError(f"int8 needs a CPU, and the model is on {network.device}: use another dtype or device.")
    family = family_of(config)
    layers = family.layers(network)
    if any(isinstance(module, Mlp) for module in layers.modules()):
        raise ModelError("The network is already optimized for inference. Load it again for another dtype.")
    with torch.no_grad():
        for layer in layers:
            family.fuse_layer(layer)
    if family.class_token:
        layers[-1].layernorm_after.__class__ = ClassTokenNorm
        family.prune_last_attention(layers[-1])
    for module in layers.modules():
        if type(module) is nn.Linear and dtype == "int8":
            to_int8(module, kernel.dtype)
        elif type(module) is nn.Linear:
            module.__class__ = kernel.layer
            module.to(kernel.dtype)
    for module in layers.modules():
        if isinstance(module, Mlp):
            module.fold_gelu(kernel.dtype)
    return network


def precision_of(network: PreTrainedModel) -> str:
    """The dtype of the products of a network, optimized or not: "float32", "bfloat16", "int8", ..."""
    for module in network.modules():
        if isinstance(module, InferenceLinear | Int8Linear):
            return str(module.weight.dtype).removeprefix("torch.")
    return str(network.dtype).removeprefix("torch.")


def weight_bytes(network: PreTrainedModel) -> int:
    """The memory of the parameters and buffers of a network."""
    return sum(each.nbytes for each in (*network.parameters(), *network.buffers()))


class MatmulKernel(NamedTuple):
    """An implementation of matrix products: the layer that computes them, and their dtype."""

    layer: type[InferenceLinear]
    dtype: torch.dtype


@lru_cache
def fastest_kernel(inner: int, outer: int, *, bfloat16: bool | None) -> MatmulKernel:
    """The kernel that is fastest on this CPU, by a short measurement.

    CPUs differ by a factor of two and more, in both directions, whatever instructions they claim to have.

    Args:
        inner, outer: number of inputs and outputs of the linear layer.
        bfloat16: True to multiply in bfloat16, False for float32, None for bfloat16 if it is much faster.
    """
    has_onednn = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    layers = (OneDnnLinear, InferenceLinear) if has_onednn else (InferenceLinear,)
    if bfloat16:
        return MatmulKernel(layers[0], torch.bfloat16)
    exact = [MatmulKernel(layer, torch.float32) for layer in layers]
    rounded = [MatmulKernel(layers[0], torch.bfloat16)] if bfloat16 is None and has_fast_bfloat16() else []
    if len(exact + rounded) == 1:
        return exact[0]
    seconds = time_kernels([*exact, *rounded], inner, outer)
    best = min(exact, key=lambda kernel: seconds[kernel] * (REQUIRED_SPEEDUP if kernel == exact[0] else 1))
    return next((kernel for kernel in rounded if seconds[kernel] < BF16_REQUIRED_SPEEDUP * seconds[best]), best)


def time_kernels(kernels: Sequence[MatmulKernel], inner: int, outer: int) -> dict[MatmulKernel, float]:
    """The least CPU time of each kernel in one thread, in seconds, measured in turn to be robust to other load.

    With two threads, one would busy-wait for the other whenever that one loses its core to other work.
    """
    values = torch.randn(TOKENS, inner)
    layers = {}
    for kernel in kernels:
        layers[kernel] = nn.Linear(inner, outer, dtype=kernel.dtype)
        layers[kernel].__class__ = kernel.layer
    seconds = dict.fromkeys(kernels, float("inf"))
    with one_thread(), torch.inference_mode():
        for layer in layers.values():
            layer(values)  # the first call builds the kernel
        for _ in range(ROUNDS):
            for kernel, layer in layers.items():
                began = time.thread_time()
                layer(values)
                seconds[kernel] = min(seconds[kernel], time.thread_time() - began)
    return seconds


def has_fast_bfloat16() -> bool:
    """True if this CPU has instructions for bfloat16 products."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
