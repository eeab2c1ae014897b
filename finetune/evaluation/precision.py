"""Compares a checkpoint in another precision with float32: predictions, time and memory."""

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
from finetune.evaluation.metrics import Predictions, top_accuracies
from hmdb.model.families import use_recorded_attention
from hmdb.model.loading import LoadedModel
from hmdb.model.optimize import optimize_for_inference, weight_bytes
from hmdb.model.precision_cost import PrecisionCost
from hmdb.model.preprocess import normalize

PLAIN = "float32"
MB = 1e6


@dataclass(frozen=True, kw_only=True)
class MeasuredPrecision:
    """Accuracy 0..1, time for one clip in ms, and weights in memory in 1e6 bytes, in one precision."""

    top1: float
    top5: float
    median_ms: float
    least_ms: float
    weights_mb: float


@dataclass(frozen=True, kw_only=True)
class PrecisionComparison:
    """The comparison of a precision with float32.

    Attributes:
        dtype: the other precision.
        top1_change, top5_change: in points, from float32 to the other.
        same_top1: fraction of the clips with the same predicted label.
        largest_probability_change: of any label on any clip.
        logit_error: root mean square change of the logits; None in older reports.
        on_disk_mb: of the weights, which stay as they are on disk.
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

    def cost(self, clips: int, split: str) -> PrecisionCost:
        """The summary that a checkpoint carries, of a comparison on `clips` clips of a split."""
        return PrecisionCost(
            top1_change=self.top1_change,
            clips=clips,
            part=split,
            same_top1=round(self.same_top1 * clips),
            relative_time=round(self.other.least_ms / self.float32.least_ms, 2),
        )


def compare(
    loaded: LoadedModel, dataset: ClipDataset, split: str, dtype: str
) -> tuple[Predictions, PrecisionComparison]:
    """Predicts each clip in float32 and in another precision.

    The two take turns, so that other load on the machine affects both, and clips go one at a time, as in serving.

    Args:
        loaded: its network is optimized for inference in place, in the other precision.
        split: the name of the clips, for the result.
        dtype: as `hmdb.model.optimize.optimize_for_inference` takes it.

    Returns:
        The predictions in the other precision, and the comparison.

    Raises:
        ModelError: the device of the network does not support the dtype.
    """
    networks = {
        PLAIN: optimize_for_inference(use_recorded_attention(copy.deepcopy(loaded.network)), PLAIN),
        dtype: optimize_for_inference(use_recorded_attention(loaded.network), dtype),
    }
    classes = dataset.class_ids
    began = time.monotonic()
    logits, times = _predict_in_turn(networks, loaded, dataset)
    predictions = Predictions(
        split=split,
        names=tuple(sample.name for sample in dataset.samples),
        logits=logits[dtype],
        classes=classes,
        seconds=time.monotonic() - began,
    )
    before, after = logits[PLAIN], logits[dtype]
    probabilities = [loaded.calibration.probabilities(each) for each in (before, after)]
    measured = [
        MeasuredPrecision(
            **top_accuracies(logits[name], classes),
            median_ms=statistics.median(times[name]),
            least_ms=min(times[name]),
            weights_mb=weight_bytes(networks[name]) / MB,
        )
        for name in (PLAIN, dtype)
    ]
    return predictions, PrecisionComparison(
        dtype=dtype,
        top1_change=_points(measured[1].top1 - measured[0].top1),
        top5_change=_points(measured[1].top5 - measured[0].top5),
        same_top1=float((before.argmax(axis=1) == after.argmax(axis=1)).mean()),
        largest_probability_change=float(np.abs(probabilities[1] - probabilities[0]).max()),
        logit_error=float(np.sqrt(np.mean((after - before) ** 2))),
        on_disk_mb=_on_disk(loaded.checkpoint.folder) / MB,
        float32=measured[0],
        other=measured[1],
    )


def _predict_in_turn(
    networks: dict[str, PreTrainedModel], loaded: LoadedModel, dataset: ClipDataset
) -> tuple[dict[str, np.ndarray], dict[str, list[float]]]:
    """Logits, float32 (N, K), and times of each clip in ms, by name of the network."""
    logits: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for index in range(len(dataset)):
        pixels = torch.from_numpy(dataset.frames(index))[None].to(loaded.network.device)
        clip = normalize(pixels, loaded.pixel_spec)
        for name, network in networks.items():
            if not index:
                _logits(network, clip)  # warm-up: the first pass allocates memory and plans kernels
            start = time.perf_counter()
            logits[name].append(_logits(network, clip))
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.stack(values) for name, values in logits.items()}, times


def _logits(network: PreTrainedModel, clip: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        logits: np.ndarray = network(pixel_values=clip).logits[0].float().cpu().numpy()
    return logits


def _points(change: float) -> float:
    """Converts a fraction to points, rounded so that one clip in a hundred is exactly one point."""
    return round(100 * change, 4)


def _on_disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors"))
