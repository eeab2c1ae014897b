"""Overlays and charts: arrays in, images or figures out. The only place that imports matplotlib.

matplotlib is imported when a colour map or a chart is asked for, and without pyplot, whose state is one
for the whole process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hmdb.results import NONE_OF_THESE, Timeline
from hmdb.text import readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOR_MAP = "inferno"  # perceptually uniform: equal steps of relevance look equally large
INK, ACCENT, FAINT = "#1f2933", "#2f6f9f", "#d5dbe1"
BAR = 0.12  # of a frame's height, for the bar under it


def overlay(
    frames: np.ndarray,
    heat: np.ndarray,
    *,
    opacity: float = 0.7,
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> np.ndarray:
    """Lays a heat map over the frames it belongs to. What is not relevant stays as it is.

    Args:
        frames: uint8 RGB (T, H, W, 3).
        heat: (T, rows, columns) in 0..1.
        opacity: of the most relevant place, in 0..1.
        region: (top, left, bottom, right) of the frame that the heat covers, as fractions.

    Returns:
        uint8 RGB (T, H, W, 3).
    """
    if len(frames) != len(heat):
        raise ValueError(f"there must be a heat map for each of the {len(frames)} frames, got {len(heat)}")
    from matplotlib import colormaps

    colors = (colormaps[COLOR_MAP](np.arange(256))[:, :3] * 255).astype(np.float32)  # (256, 3)
    smooth = _spread(heat, frames.shape[1:3], region)  # (T, H, W)
    result = np.empty_like(frames)
    for frame, warmth, out in zip(frames, smooth, result, strict=True):  # one at a time: floats are large
        alpha = (opacity * warmth)[..., None]
        out[:] = np.rint(frame * (1 - alpha) + colors[np.rint(warmth * 255).astype(np.uint8)] * alpha)
    return result


def _spread(heat: np.ndarray, size: tuple[int, int], region: tuple[float, float, float, float]) -> np.ndarray:
    """(T, rows, columns) -> float32 (T, H, W), smoothly, with 0 outside the region."""
    height, width = size
    top, bottom = (round(edge * height) for edge in region[::2])
    left, right = (round(edge * width) for edge in region[1::2])
    result = np.zeros((len(heat), height, width), np.float32)
    for map_, out in zip(heat, result, strict=True):
        image = Image.fromarray(map_.astype(np.float32)).resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        out[top:bottom, left:right] = np.clip(np.asarray(image), 0, 1)
    return result


def importance_bars(frames: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Puts a bar under each frame, as long as its importance; the most important frame's is full.

    Args:
        frames: uint8 RGB (T, H, W, 3).
        importance: (T,), at least 0; written in percent.

    Returns:
        uint8 RGB (T, H + height of the bar, W, 3).
    """
    if len(frames) != len(importance):
        raise ValueError(f"there must be an importance for each of the {len(frames)} frames, got {len(importance)}")
    _, height, width, _ = frames.shape
    bar = max(round(BAR * height), 14)
    font = ImageFont.load_default(size=bar * 0.7)
    largest = max(float(importance.max()), 1e-12)
    strips = []
    for value in importance:
        strip = Image.new("RGB", (width, bar), FAINT)
        draw = ImageDraw.Draw(strip)
        length = round(width * float(value) / largest)
        draw.rectangle((0, 0, length - 1, bar), fill=ACCENT) if length else None
        text = f"{value:.0%}"
        inside = length > draw.textlength(text, font) + bar
        draw.text(
            (bar * 0.4 if inside else length + bar * 0.4, bar / 2),
            text,
            font=font,
            anchor="lm",
            fill="white" if inside else INK,
        )
        strips.append(np.asarray(strip))
    return np.concatenate([frames, np.stack(strips)], axis=1)


def sheet(frames: np.ndarray, *, columns: int = 4, gap: int = 4) -> np.ndarray:
    """The frames side by side in rows: uint8 RGB (T, H, W, 3) -> (rows of them, 3), white between."""
    count, height, width, _ = frames.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    page = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        page[top : top + height, left : left + width] = frame
    return page


def answer_figure(
    frames: np.ndarray, labels: Sequence[str], probabilities: Sequence[float], *, truth: str | None = None
) -> Figure:
    """The frames of a clip and the likeliest labels under them (paper, figures 6 and 7).

    Args:
        frames: uint8 RGB (T, H, W, 3).
        labels, probabilities: the likeliest first.
        truth: the right label, named in the title if given.
    """
    figure = _figure(8, 6.4)
    image, bars = figure.subplots(2, 1, height_ratios=(1.5, 1))
    image.imshow(sheet(frames))
    image.axis("off")
    title = readable(labels[0])
    if truth is not None:
        title += " (right)" if truth == labels[0] else f" (wrong: it is {readable(truth)})"
    image.set_title(title, color=INK)
    colors = [ACCENT if truth is None or label == truth else FAINT for label in labels]
    places = range(len(labels))
    bars.barh(places, probabilities, color=colors)
    bars.set_yticks(places, [readable(label) for label in labels])
    bars.invert_yaxis()
    bars.set_xlim(0, 1.08)
    for place, probability in zip(places, probabilities, strict=True):
        bars.text(probability + 0.01, place, f"{probability:.1%}", va="center", color=INK)
    _bare(bars)
    bars.set_xticks([])
    return figure


def timeline_chart(timeline: Timeline) -> Figure:
    """Which label when: a row for each label that occurs, in the order of its first segment, darker where
    the model is surer.
    """
    segments = timeline.segments
    names = list(dict.fromkeys(segment.label for segment in segments))
    named = [readable(name or NONE_OF_THESE) for name in names]
    figure = _figure(6.5, 1.1 + 0.34 * len(names))
    axes = figure.subplots()
    for segment in segments:
        start, end = segment.start_seconds, segment.end_seconds
        if start is None or end is None:
            start, end = segment.start_frame, segment.end_frame
        axes.barh(
            names.index(segment.label),
            end - start,
            left=start,
            height=0.7,
            color=FAINT if segment.label is None else ACCENT,
            alpha=0.25 + 0.75 * segment.probability,
            edgecolor="white",
        )
    axes.set_yticks(range(len(names)), named)
    axes.set_ylim(len(names) - 0.5, -0.5)
    end = timeline.num_frames / (timeline.fps or 1) if timeline.fps or not timeline.has_clock else 0.0
    axes.set_xlim(0, max(end, segments[-1].end_seconds or 0.0))  # the clock need not begin at zero
    axes.set_xlabel("seconds" if timeline.has_clock else "frames")
    _bare(axes)
    return figure


def confusion_matrix(counts: np.ndarray, labels: Sequence[str]) -> Figure:
    """How often each class was taken for which (paper, figure 3).

    Args:
        counts: (N, N) whole numbers; row: the right class, column: the answer.
        labels: the N class names.
    """
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(f"counts must be ({len(labels)}, {len(labels)}) for these labels, got {counts.shape}")
    side = 2.2 + 0.3 * len(labels)
    figure = _figure(side, side)
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.6 else INK
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=8, color=color)
    names = [readable(label) for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("answer")
    axes.set_ylabel("right class")
    _bare(axes)
    return figure


def reliability_chart(confidence: np.ndarray, accuracy: np.ndarray, weight: np.ndarray) -> Figure:
    """How often the model is right against how sure it says it is; on the diagonal the two agree.

    Args:
        confidence, accuracy, weight: (bins,), as `hmdb.model.calibration.reliability` gives them.
    """
    figure = _figure(4.4, 4.2)
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color=FAINT)
    used = weight > 0
    axes.scatter(confidence[used], accuracy[used], s=20 + 600 * weight[used], color=ACCENT, alpha=0.8)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("probability of the answer")
    axes.set_ylabel("share of right answers")
    _bare(axes)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _bare(axes: object) -> None:
    """Takes away what says nothing: the box, the tick marks."""
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)  # noqa: S101 - matplotlib types subplots() loosely
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
