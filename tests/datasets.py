"""Small data sets to train on: a shape for each class, moving over a background of its own for each clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32  # pixels
COLORS = ((230, 60, 50), (60, 200, 80), (70, 90, 230), (230, 210, 60))


def shape_clip(kind: int, seed: int, num_frames: int = 8) -> np.ndarray:
    """uint8 (T, 32, 32, 3): a square of the colour of its kind that moves over noise."""
    rng = np.random.default_rng((kind, seed))
    coarse = rng.integers(0, 140, (4, 4, 3)).astype(np.uint8)
    background = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    frames = np.stack([background] * num_frames)
    left, top = rng.integers(0, SIDE // 2, 2)
    for index, frame in enumerate(frames):
        x = (left + 2 * index) % (SIDE - 12)
        frame[top : top + 12, x : x + 12] = COLORS[kind % len(COLORS)]
    return frames


def write_clip(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{index}.png")
    return folder


def write_dataset(
    root: Path, clips: int = 10, classes: Sequence[str] = ("circle", "square"), num_frames: int = 8
) -> Path:
    """A data set `<root>/<class>/<clip>` of folders of frames."""
    for kind, label in enumerate(classes):
        for number in range(clips):
            write_clip(root / label / f"clip_{number:02}", shape_clip(kind, number, num_frames))
    return root


def write_tables(root: Path, **parts: Sequence[tuple[str, str]]) -> None:
    """train.csv, val.csv and test.csv of (class, video_name)."""
    for part, rows in parts.items():
        lines = ["class,video_name", *(f"{label},{name}" for label, name in rows)]
        (root / f"{part}.csv").write_text("\n".join(lines) + "\n")
