"""Draws the charts of an evaluation: confusion matrix, reliability diagram, predictions with their frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.font_manager import FontProperties, findfont, get_font

from hmdb.figures import ACCENT, FAINT, INK, new_figure, sheet, strip_axes
from hmdb.text import label_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def drawable(label: str) -> str:
    """Escapes a label for the font: missing characters become codes, and a dollar starts no formula."""
    known = get_font(findfont(FontProperties())).get_charmap()
    return "".join(
        "\\$" if char == "$" else char if ord(char) in known else f"u{ord(char):x}" for char in label_words(label)
    )


def answer_figure(
    frames: np.ndarray, labels: Sequence[str], probabilities: Sequence[float], *, truth: str | None = None
) -> Figure:
    """Draws the frames of a clip over the bars of its likeliest labels (paper, figures 6 and 7).

    Args:
        frames: uint8 RGB (T, H, W, 3).
        labels, probabilities: the likeliest first.
        truth: the true label, for the title.
    """
    figure = new_figure(8, 6.4)
    image, bars = figure.subplots(2, 1, height_ratios=(1.5, 1))
    image.imshow(sheet(frames))
    image.axis("off")
    title = drawable(labels[0])
    if truth is not None:
        title += " (right)" if truth == labels[0] else f" (wrong: it is {drawable(truth)})"
    image.set_title(title, color=INK)
    colors = [ACCENT if truth is None or label == truth else FAINT for label in labels]
    places = range(len(labels))
    bars.barh(places, probabilities, color=colors)
    bars.set_yticks(places, [drawable(label) for label in labels])
    bars.invert_yaxis()
    bars.set_xlim(0, 1.08)
    for place, probability in zip(places, probabilities, strict=True):
        bars.text(probability + 0.01, place, f"{probability:.1%}", va="center", color=INK)
    strip_axes(bars)
    bars.set_xticks([])
    return figure


def confusion_matrix(counts: np.ndarray, labels: Sequence[str]) -> Figure:
    """Draws a confusion matrix (paper, figure 3).

    Args:
        counts: (N, N) whole numbers; row: the true class, column: the predicted one.
        labels: the N class names.
    """
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(f"counts must be ({len(labels)}, {len(labels)}) for these labels, got {counts.shape}")
    side = 2.2 + 0.3 * len(labels)
    figure = new_figure(side, side)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.6 else INK
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=8, color=color)
    names = [drawable(label) for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    strip_axes(axes)
    return figure


def reliability_chart(confidence: np.ndarray, accuracy: np.ndarray, weight: np.ndarray) -> Figure:
    """Draws a reliability diagram: accuracy over confidence; a calibrated model lies on the diagonal.

    Args:
        confidence, accuracy, weight: (bins,), as `finetune.evaluation.calibrate.reliability` gives them.
    """
    figure = new_figure(4.4, 4.2)
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color=FAINT)
    used = weight > 0
    axes.scatter(confidence[used], accuracy[used], s=20 + 600 * weight[used], color=ACCENT, alpha=0.8)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    strip_axes(axes)
    return figure
