"""Logits and true classes -> figures."""

from __future__ import annotations

import numpy as np


def top_k_accuracy(logits: np.ndarray, classes: np.ndarray, k: int) -> float:
    """Share of clips, 0..1, whose class is among the k highest logits.

    Args:
        logits: float (N, number of classes).
        classes: int (N,).
    """
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return float((best == classes[:, None]).any(axis=1).mean())


def accuracies(logits: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """The paper's two figures: top-1 and top-5."""
    return {"top1": top_k_accuracy(logits, classes, 1), "top5": top_k_accuracy(logits, classes, 5)}
