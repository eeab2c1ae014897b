"""What another precision does to a checkpoint's answers, time and memory, beside float32."""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from finetune.data.dataset import ClipDataset
from finetune.evaluation.metrics import Predictions, accuracies
from hmdb.model.families import use_recorded_attention
from hmdb.model.loading import LoadedModel
from hmdb.model.optimize import optimize_for_inference, weight_bytes
from hmdb.model.precision_cost import PrecisionCost
from hmdb.model.preprocess import normalize

PLAIN = "float32"
MB = 1e6


@dataclass(frozen=True, kw_only=True)
class MeasuredPrecision:
    """What one precision gives and takes: accuracy 0..1, time for one clip in ms, weights in memory in 1e6 bytes."""

    top1: float
    top5: float
    median_ms: float
    least_ms: float
    weights_mb: float


@dataclass(frozen=True, kw_only=True)
class PrecisionComparison:
    """A precision beside float32.

    Attributes:
        dtype: the other precision.
        top1_change, top5_change: in points, from float32 to it.
        same_top1: share of the clips with the same first answer.
        largest_probability_change: of any label on any clip.
        logit_error: root mean square of what the logits change by; None in older reports.
        on_disk_mb: of the weights, which stay as they are there.
    """

    dtype: str
    top1_change: float
    top5_change: float
    same_top1: float
    largest_probability_change: float
    on_disk_mb: float
    float32: MeasuredPrecision
    other: MeasuredPrecision
    logit_error: float | None = None

    def cost(self, clips: int, part: str) -> PrecisionCost:
        """What a checkpoint keeps of it, where so many clips of this part were answered."""
        return PrecisionCost(
            top1_change=self.top1_change,
            clips=clips,
            part=part,
            same_top1=round(self.same_top1 * clips),
            relative_time=round(self.other.least_ms / self.float32.least_ms, 2),
        )


def compare(
    loaded: LoadedModel, dataset: ClipDataset, split: str, dtype: str
) -> tuple[Predictions, PrecisionComparison]:
    """Answers each clip in float32 and in another precision, in turn, so that what else the machine does
    meets both alike. Clips go one at a time, as visitors bring them.

    Args:
        loaded: its network is optimized for inference in place, to the other precision.
        split: what the clips are.
        dtype: as `hmdb.model.optimize.optimize_for_inference` takes it.

    Returns:
        The answers in the other precision, and the comparison.

    Raises:
        ModelError: no such dtype where the network is.
    """
    networks = {
        PLAIN: optimize_for_inference(use_recorded_attention(copy.deepcopy(loaded.network)), PLAIN),
        dtype: optimize_for_inference(use_recorded_attention(loaded.network), dtype),
    }
    classes = dataset.class_ids
    began = time.monotonic()
    found, taken = _answer_in_turn(networks, loaded, dataset)
    outcome = Predictions(
        split=split,
        names=tuple(sample.name for sample in dataset.samples),
        logits=found[dtype],
        classes=classes,
        seconds=time.monotonic() - began,
    )
    before, after = found[PLAIN], found[dtype]
    probabilities = [loaded.calibration.probabilities(logits) for logits in (before, after)]
    costs = [
        MeasuredPrecision(
            **accuracies(found[name], classes),
            median_ms=statistics.median(taken[name]),
            least_ms=min(taken[name]),
            weights_mb=weight_bytes(networks[name]) / MB,
        )
        for name in (PLAIN, dtype)
    ]
    return outcome, PrecisionComparison(
        dtype=dtype,
        top1_change=_points(costs[1].top1 - costs[0].top1),
        top5_change=_points(costs[1].top5 - costs[0].top5),
        same_top1=float((before.argmax(axis=1) == after.argmax(axis=1)).mean()),
        largest_probability_change=float(np.abs(probabilities[1] - probabilities[0]).max()),
        logit_error=float(np.sqrt(np.mean((after - before) ** 2))),
        on_disk_mb=_on_disk(loaded.checkpoint.folder) / MB,
        float32=costs[0],
        other=costs[1],
    )


def _answer_in_turn(
    networks: dict[str, PreTrainedModel], loaded: LoadedModel, dataset: ClipDataset
) -> tuple[dict[str, np.ndarray], dict[str, list[float]]]:
    """By name of the network: float32 (N, K) logits, and the ms that each clip took."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    taken: dict[str, list[float]] = {name: [] for name in networks}
    for index in range(len(dataset)):
        pixels = torch.from_numpy(dataset.frames(index))[None].to(loaded.network.device)
        clip = normalize(pixels, loaded.pixel_spec)
        for name, network in networks.items():
            if not index:
                _logits(network, clip)  # the first pass of a network takes memory and makes plans
            start = time.perf_counter()
            found[name].append(_logits(network, clip))
            taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.stack(logits) for name, logits in found.items()}, taken


def _logits(network: PreTrainedModel, clip: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        logits: np.ndarray = network(pixel_values=clip).logits[0].float().cpu().numpy()
    return logits


def _points(change: float) -> float:
    """Rounded, so that one clip in a hundred is one point and not a little more."""
    return round(100 * change, 4)


def _on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
