"""What another arithmetic does to a checkpoint's answers, time and memory, beside float32."""

from __future__ import annotations

import copy
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from finetune.data.dataset import ClipDataset
from finetune.evaluation.metrics import Outcome, top_k_accuracy
from hmdb.model.attention import fuse
from hmdb.model.inference import optimize_for_inference, weight_bytes
from hmdb.model.loading import LoadedModel
from hmdb.model.preprocess import normalize

PLAIN = "float32"
MB = 1e6


def compare(loaded: LoadedModel, dataset: ClipDataset, part: str, dtype: str) -> tuple[Outcome, dict[str, Any]]:
    """Answers each clip in float32 and in another arithmetic, in turn, so that what else the machine does
    meets both alike. Clips go one at a time, as visitors bring them.

    Args:
        loaded: its network is optimized for inference in place, to the other arithmetic.
        part: "val" or "test".
        dtype: as `hmdb.model.inference.optimize_for_inference` takes it.

    Returns:
        The answers in the other arithmetic, and the comparison, ready for JSON: changes in points, from
        float32 to it; times in ms; sizes in MB (1,000,000 bytes).

    Raises:
        ModelError: no such dtype where the network is.
    """
    networks = {
        PLAIN: optimize_for_inference(fuse(copy.deepcopy(loaded.network)), PLAIN),
        dtype: optimize_for_inference(fuse(loaded.network), dtype),
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    taken: dict[str, list[float]] = {name: [] for name in networks}
    classes = np.array([dataset.class_id(index) for index in range(len(dataset))])
    began = time.monotonic()
    for index in range(len(dataset)):
        pixels = torch.from_numpy(dataset.frames(index))[None].to(loaded.network.device)
        clip = normalize(pixels, loaded.pixel_spec)
        for name, network in networks.items():
            if not index:
                _logits(network, clip)  # the first pass of a network takes memory and makes plans
            start = time.perf_counter()
            found[name].append(_logits(network, clip))
            taken[name].append(1e3 * (time.perf_counter() - start))
    outcome = Outcome(
        part=part,
        names=tuple(sample.name for sample in dataset.samples),
        logits=np.stack(found[dtype]),
        classes=classes,
        seconds=time.monotonic() - began,
    )
    before, after = np.stack(found[PLAIN]), outcome.logits
    probabilities = [loaded.calibration.probabilities(logits) for logits in (before, after)]
    return outcome, {
        "dtype": dtype,
        "top1_change": _change(before, after, classes, 1),
        "top5_change": _change(before, after, classes, 5),
        "same_top1": float((before.argmax(axis=1) == after.argmax(axis=1)).mean()),
        "largest_probability_change": float(np.abs(probabilities[1] - probabilities[0]).max()),
        "on_disk_mb": _on_disk(loaded.checkpoint.folder) / MB,
        **{
            name: {
                "top1": top_k_accuracy(logits, classes, 1),
                "top5": top_k_accuracy(logits, classes, 5),
                "median_ms": statistics.median(taken[name]),
                "least_ms": min(taken[name]),
                "weights_mb": weight_bytes(networks[name]) / MB,
            }
            for name, logits in ((PLAIN, before), (dtype, after))
        },
    }


def _logits(network: PreTrainedModel, clip: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        logits: np.ndarray = network(pixel_values=clip).logits[0].float().cpu().numpy()
    return logits


def _change(before: np.ndarray, after: np.ndarray, classes: np.ndarray, k: int) -> float:
    """In points. Rounded, so that one clip in a hundred is one point and not a little more."""
    return round(100 * (top_k_accuracy(after, classes, k) - top_k_accuracy(before, classes, k)), 4)


def _on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
