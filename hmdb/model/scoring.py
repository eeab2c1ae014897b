"""Scores clips with a loaded model: preprocessing, forward pass, calibration and OOD score.

B is the batch, T the frames of a clip, K the labels, C the hidden size.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from hmdb.clips.clip import Clip
from hmdb.errors import ModelError
from hmdb.model.loading import LoadedModel
from hmdb.model.preprocess import preprocess
from hmdb.results import ClipScores


def to_batch(loaded: LoadedModel, clips: Sequence[Clip]) -> torch.Tensor:
    """Clips -> float32 (B, T, 3, height, width), on the network's device."""
    return torch.stack([preprocess(clip.pixels, loaded.pixel_spec) for clip in clips]).to(loaded.network.device)


def forward(loaded: LoadedModel, pixel_values: torch.Tensor) -> np.ndarray:
    """(B, T, 3, height, width) -> float32 (B, K): probabilities.

    Raises:
        ModelError: a logit is not finite.
    """
    with torch.inference_mode():
        logits = loaded.network(pixel_values=pixel_values).logits
    return loaded.calibration.probabilities(_finite(loaded, logits))


def score(loaded: LoadedModel, pixel_values: torch.Tensor) -> list[ClipScores]:
    """(B, T, 3, height, width) -> the scores of each clip.

    Raises:
        ModelError: a logit is not finite.
    """
    output, features = _forward_with_features(loaded, pixel_values)
    logits = _finite(loaded, output)
    detector = loaded.ood_detector
    ood_scores = [None] * len(features) if detector is None else detector.score(features, logits).tolist()
    return [
        ClipScores(
            labels=loaded.labels,
            threshold=loaded.calibration.threshold,
            probabilities=probabilities,
            embedding=embedding,
            in_distribution_score=ood_score,
        )
        for probabilities, embedding, ood_score in zip(
            loaded.calibration.probabilities(logits), features, ood_scores, strict=True
        )
    ]


def _forward_with_features(loaded: LoadedModel, pixel_values: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """(B, T, 3, height, width) -> logits (B, K) and the classifier's input, float32 (B, C)."""
    network: Any = loaded.network
    pooled: list[torch.Tensor] = []
    thread = threading.get_ident()

    def keep(_: object, inputs: tuple[torch.Tensor]) -> None:
        if threading.get_ident() == thread:  # the hook sees the passes of all threads
            pooled.append(inputs[0])

    handle = network.classifier.register_forward_pre_hook(keep)
    try:
        with torch.inference_mode():
            logits: torch.Tensor = network(pixel_values=pixel_values).logits
    finally:
        handle.remove()
    return logits, pooled[0].float().cpu().numpy()


def _finite(loaded: LoadedModel, logits: torch.Tensor) -> np.ndarray:
    values: np.ndarray = logits.float().cpu().numpy()
    if not np.isfinite(values).all():
        raise ModelError(f"{loaded.checkpoint.name} gives no finite answer; its weights are damaged.")
    return values
