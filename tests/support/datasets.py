"""Small synthetic data sets: moving shapes, moving people, and empty files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 32  # pixels
COLORS = ((230, 60, 50), (60, 200, 80), (70, 90, 230), (230, 210, 60))


def shape_clip(kind: int, seed: int, num_frames: int = 8) -> np.ndarray:
    """Draws a square, in the colour of its kind, that moves over noise: uint8 (T, 32, 32, 3)."""
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
    """Writes a data set `<root>/<class>/<clip>` of folders of frames."""
    for kind, label in enumerate(classes):
        for number in range(clips):
            write_clip(root / label / f"clip_{number:02}", shape_clip(kind, number, num_frames))
    return root


def empty_videos(root: Path, **classes: int) -> Path:
    """A data set of empty files named as in HMDB51: splits need no more than names."""
    for label, count in classes.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            (root / label / f"film_{number // 2}_{label}_f_cm_np1_ba_med_{number}.avi").touch()
    return root


MOTIONS = ("bend", "jack", "jump", "pjump", "run", "side", "skip", "walk", "wave1", "wave2")
PEOPLE = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")


def write_people(
    root: Path, motions: Sequence[str] = MOTIONS, people: Sequence[str] = PEOPLE, num_frames: int = 24, scale: int = 4
) -> Path:
    """Writes a data set `<root>/<motion>/<person>_<motion>` of figures moving in front of one background."""
    wall = np.random.default_rng(7).integers(60, 200, (6, 8, 3)).astype(np.uint8)
    background = Image.fromarray(wall).resize((40 * scale, 30 * scale), Image.Resampling.BICUBIC)
    for motion in motions:
        for person in people:
            folder = root / motion / f"{person}_{motion}"
            folder.mkdir(parents=True)
            for index in range(num_frames):
                _draw_person(background, motion, person, index / num_frames, scale).save(folder / f"{index:02}.png")
    return root


def _draw_person(background: Image.Image, motion: str, person: str, moment: float, scale: int) -> Image.Image:
    """Draws body and limbs at a moment, 0..1, of a motion."""
    rng = np.random.default_rng((PEOPLE.index(person), MOTIONS.index(motion)))
    size, speed, phase = rng.uniform(0.8, 1.15), rng.uniform(0.85, 1.15), rng.uniform(0, 1)
    color = tuple(int(value) for value in np.random.default_rng(PEOPLE.index(person)).integers(0, 255, 3))
    beat = np.sin(2 * np.pi * (2 * speed * moment + phase))
    across = {"run": 30.0, "skip": 22.0, "walk": 14.0, "side": 14.0, "jump": 16.0}.get(motion, 0.0)
    x = 8 + rng.uniform(0, 3) + across * speed * moment if across else 20 + rng.uniform(-6, 6)
    lift = {"jump": 5.0, "pjump": 5.0, "skip": 3.0, "jack": 2.0}.get(motion, 0.0) * abs(beat)
    lean = 9 * (1 - np.cos(2 * np.pi * moment * speed)) / 2 if motion == "bend" else 2.0 if motion == "run" else 0.0
    legs = {"run": 5.0 * beat, "walk": 3.0 * beat, "skip": 3.5 * beat, "side": 3 * abs(beat), "jack": 4 * abs(beat)}
    arms = {"wave2": (-1.0, -1.0), "wave1": (-1.0, 1.0), "jack": (-beat, -beat), "run": (0.2, 0.2)}.get(
        motion, (1.0, 1.0)
    )
    swing = 2.5 * beat if motion in ("wave1", "wave2", "walk", "run") else 0.0

    image = background.copy()
    draw = ImageDraw.Draw(image)
    hip, neck = (x, 19 - lift), (x + lean, 12 - lift + lean / 2)

    def line(*points: tuple[float, float]) -> None:
        middle = (20, 26)
        placed = [
            tuple(scale * (middle[axis] + size * (point[axis] - middle[axis])) for axis in (0, 1)) for point in points
        ]
        draw.line(placed, fill=color, width=max(scale * 3 // 2, 1))

    spread = legs.get(motion, 1.0)
    line(hip, neck, (neck[0] + lean / 3, neck[1] - 3))
    line(
        (hip[0] - spread, 26 - lift),
        hip,
        (hip[0] + (spread if motion in ("side", "jack") else -spread) + 0.6, 26 - lift),
    )
    for side, down in zip((-1, 1), arms, strict=True):
        line(neck, (neck[0] + side * 3 + (swing if down < 0 else 0), neck[1] + 1 + 5 * down))
    return image


def write_tables(root: Path, **parts: Sequence[tuple[str, str]]) -> None:
    """Writes train.csv, val.csv and test.csv of (class, video_name)."""
    for part, rows in parts.items():
        lines = ["class,video_name", *(f"{label},{name}" for label, name in rows)]
        (root / f"{part}.csv").write_text("\n".join(lines) + "\n")
