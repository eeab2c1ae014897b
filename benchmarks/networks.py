"""The measured models: two of full size with random weights, and the bundled one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoImageProcessor, AutoModelForVideoClassification, PreTrainedModel

from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.models.initial import load_initial
from finetune.training.checkpoint import save_checkpoint
from hmdb.model.loading import BUNDLED

RANDOM = ("timesformer-base", "vivit-base")
ALL = (*RANDOM, "bundled")


def folder_of(name: str, scratch: Path) -> Path:
    """A checkpoint on disk, with random weights, as time and memory do not depend on their values."""
    if name == "bundled":
        return BUNDLED
    folder = scratch / name
    if not folder.is_dir():
        torch.manual_seed(0)
        origin = load_initial(f"scratch:{name}", HMDB_SIMP, sampler="equidistant", extension=None, paper_pixels=True)
        save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, folder)
    return folder


def plain(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The network as loaded by transformers, with its default attention."""
    network: PreTrainedModel = AutoModelForVideoClassification.from_pretrained(folder, dtype=dtype)
    network.train(mode=False)
    return network


def processor(folder: Path) -> Any:
    """The image processor of transformers."""
    return AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]


def pixels(network: PreTrainedModel) -> torch.Tensor:
    """A clip of noise: float32 (1, T, 3, H, W)."""
    config: Any = network.config
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, config.num_frames, 3, config.image_size, config.image_size, generator=generator)


def operations(network: PreTrainedModel) -> float:
    """FLOPs of one clip in transformers, two for each multiply-add."""
    eager = copy.deepcopy(network)
    eager.set_attn_implementation("eager")  # the counter does not know torch's fused kernel on a CPU
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        eager(pixel_values=pixels(network))
    return float(counter.get_total_flops())


def product(network: PreTrainedModel, dtype: torch.dtype) -> tuple[Callable[[], torch.Tensor], float]:
    """A matrix product in torch of the shape of the network's largest, and its FLOPs."""
    config: Any = network.config
    tokens = config.num_frames * (config.image_size // 16) ** 2
    inner, outer = config.hidden_size, config.intermediate_size
    left, right = torch.randn(tokens, inner).to(dtype), torch.randn(inner, outer).to(dtype)
    return lambda: left @ right, 2.0 * tokens * inner * outer
