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
from hmdb.teaching.features import VIEWS, view_frames


def to_batch(loaded: LoadedModel, clips: Sequence[Clip]) -> torch.Tensor:
    """Clips -> float32 (B, T, 3, height, width), on the network's device."""
    return torch.stack([preprocess(clip.pixels, loaded.pixel_spec) for clip in clips]).to(loaded.network.device)


def forward(loaded: LoadedModel, pixel_values: torch.Tensor) -> np.ndarray:
    """(B, T, 3, height, width) -> float32 (B, K): probabilities.

    Raises:
        ModelError: a logit is not finite.
    """
    logits, _ = _logits_and_features(loaded, pixel_values)
    return loaded.calibration.probabilities(logits)


def score(loaded: LoadedModel, pixel_values: torch.Tensor) -> list[ClipScores]:
    """(B, T, 3, height, width) -> the scores of each clip.

    Raises:
        ModelError: a logit is not finite.
    """
    logits, features = _logits_and_features(loaded, pixel_values)
    detector = loaded.ood_detector
    if loaded.head is not None:
        ood_scores = loaded.head.scores(features, logits)
    else:
        ood_scores = [None] * len(features) if detector is None else detector.score(features[:, 0], logits).tolist()
    return [
        ClipScores(
            labels=loaded.labels,
            threshold=loaded.calibration.threshold,
            probabilities=probabilities,
            embedding=embedding,
            in_distribution_score=ood_score,
        )
        for probabilities, embedding, ood_score in zip(
            loaded.calibration.probabilities(logits), features[:, 0], ood_scores, strict=True
        )
    ]


def view_features(loaded: LoadedModel, pixel_values: torch.Tensor, num_views: int = len(VIEWS)) -> np.ndarray:
    """(B, T, 3, height, width) -> float32 (B, num_views, C): pooled features of the first of `VIEWS` of each clip.

    Raises:
        ModelError: a logit of the network's own classifier is not finite.
    """
    frames = view_frames(pixel_values.shape[1])[:num_views]
    views = pixel_values[:, frames].flatten(0, 1)
    logits, features = _forward_with_features(loaded, views)
    _finite(loaded, logits)
    return features.reshape(len(pixel_values), num_views, -1)


def _logits_and_features(loaded: LoadedModel, pixel_values: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(B, T, 3, height, width) -> float32 logits (B, K), and features (B, views, C) of the views that they are of."""
    if loaded.head is None:
        logits, features = _forward_with_features(loaded, pixel_values)
        return _finite(loaded, logits), features[:, None]
    features = view_features(loaded, pixel_values, loaded.head.num_views)
    return loaded.head.logits(features), features


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
