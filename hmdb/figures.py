"""Heat map overlays and charts: arrays in, images or figures out.

matplotlib is imported here alone, on first use, and without pyplot, whose state is global to the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from hmdb.results import Timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOR_MAP = "inferno"  # perceptually uniform: equal steps of relevance look equally large
INK, ACCENT, FAINT = "#1f2933", "#2f6f9f", "#d5dbe1"


def overlay(
    frames: np.ndarray,
    heat: np.ndarray,
    *,
    opacity: float = 0.7,
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> np.ndarray:
    """Blends heat maps over frames; pixels without relevance stay as they are.

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
    smooth = _upsample(heat, frames.shape[1:3], region)  # (T, H, W)
    result = np.empty_like(frames)
    for frame, warmth, out in zip(frames, smooth, result, strict=True):  # one at a time: floats are large
        alpha = (opacity * warmth)[..., None]
        out[:] = np.rint(frame * (1 - alpha) + colors[np.rint(warmth * 255).astype(np.uint8)] * alpha)
    return result


def _upsample(heat: np.ndarray, size: tuple[int, int], region: tuple[float, float, float, float]) -> np.ndarray:
    """Resizes maps bicubically: (T, rows, columns) -> float32 (T, H, W) in 0..1, with 0 outside the region."""
    height, width = size
    top, bottom = (round(edge * height) for edge in region[::2])
    left, right = (round(edge * width) for edge in region[1::2])
    result = np.zeros((len(heat), height, width), np.float32)
    for map_, out in zip(heat, result, strict=True):
        image = Image.fromarray(map_.astype(np.float32)).resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        out[top:bottom, left:right] = np.clip(np.asarray(image), 0, 1)
    return result


def sheet(frames: np.ndarray, *, columns: int = 4, gap: int = 4) -> np.ndarray:
    """Tiles frames, uint8 RGB (T, H, W, 3), into one picture (height, width, 3), with white gaps of `gap` pixels."""
    count, height, width, _ = frames.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    tiled = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        tiled[top : top + height, left : left + width] = frame
    return tiled


def timeline_chart(timeline: Timeline) -> Figure:
    """Draws the segments that were looked at over time: a row for each label, in the order of first occurrence, darker
    for higher probabilities.
    """
    segments = [segment for segment in timeline.segments if segment.looked_at]
    names = list(dict.fromkeys(segment.name for segment in segments))
    figure = new_figure(6.5, 1.1 + 0.34 * len(names))
    axes = figure.subplots()
    for segment in segments:
        start, end = segment.start_seconds, segment.end_seconds
        if start is None or end is None:
            start, end = segment.start_frame, segment.end_frame
        axes.barh(
            names.index(segment.name),
            end - start,
            left=start,
            height=0.7,
            color=FAINT if segment.label is None else ACCENT,
            alpha=0.25 + 0.75 * (segment.probability or 0.0),
            edgecolor="white",
        )
    axes.set_yticks(range(len(names)), names, parse_math=False)  # a label may contain dollars
    axes.set_ylim(len(names) - 0.5, -0.5)
    end = timeline.num_frames / (timeline.fps or 1) if timeline.fps or not timeline.has_clock else 0.0
    axes.set_xlim(0, max(end, segments[-1].end_seconds or 0.0))  # the clock need not begin at zero
    axes.set_xlabel("seconds" if timeline.has_clock else "frames")
    strip_axes(axes)
    return figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def strip_axes(axes: object) -> None:
    """Removes the box and the tick marks."""
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)  # noqa: S101 - matplotlib types subplots() loosely
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
