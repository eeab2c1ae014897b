"""Draws clips to train on: `python -m drawings.make_training FOLDER [--clips 12] [--seed 0]`.

They vary more than the examples, and share no seed, scene or colour of clothes with them, so that the examples stay a
test of what was learned. Any scene goes with any action, so that a scene gives no action away.
"""

from __future__ import annotations

import argparse
import colorsys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drawings.actions import ACTIONS
from drawings.drawing import CLOTHS, HAIRS, SHOES, SKINS, TROUSERS, Camera, generator, render
from drawings.figure import Color, Look
from drawings.make_examples import write_mp4
from drawings.scenes import TRAINING_SCENES

FIRST_SEED = 1000  # above those of the examples
CLIPS_PER_SEED = 10_000  # of an action
MIN_COLOR_DISTANCE = 45.0  # from each colour of the examples, in RGB
SECONDS = (1.0, 6.0)
SIDES = (176, 256)  # pixels of the shorter side
ASPECTS = (4 / 3, 4 / 3, 16 / 9, 1.0, 3 / 4, 9 / 16)
MIN_PACE = 0.9  # of those that `render` may choose


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The parameters of a clip.

    Attributes:
        size: (width, height) in pixels.
        tempo: speed of action and camera, relative to the examples.
        start: seconds of the action before the clip begins.
        light: exponent, and factors of red, green and blue.
        crf: of the encoder; larger is coarser.
    """

    action: str
    seed: int
    scene: str
    look: Look
    size: tuple[int, int]
    fps: int
    seconds: float
    tempo: float
    start: float
    camera: Camera
    light: tuple[float, tuple[float, float, float]]
    crf: int


def plan(action: str, seed: int) -> Clip:
    """Chooses the parameters of a clip so that it shows the gist of the action."""
    rng = np.random.default_rng(generator(action, seed).integers(2**32, size=4))
    aspect, side = float(rng.choice(ASPECTS)), float(rng.uniform(*SIDES))
    width, height = (2 * round(side * max(ratio, 1) / 2) for ratio in (aspect, 1 / aspect))
    tempo = float(rng.uniform(0.75, 1.35))
    begin, end = ACTIONS[action][1].gist
    needed = (end - begin) / (tempo * MIN_PACE)
    seconds = float(rng.uniform(max(needed, SECONDS[0]), SECONDS[1]))
    start = float(rng.uniform(max(end - seconds * tempo * MIN_PACE, 0), begin))
    zoom = float(rng.uniform(0.78, 1.05)) * min(1.0, 0.95 * aspect)
    camera = Camera(zoom=zoom, aside=float(rng.uniform(-0.05, 0.05)), ground=float(rng.uniform(0.82, 0.92)))
    red, green, blue = rng.uniform(0.85, 1.1) * rng.uniform(0.9, 1.08, 3)
    return Clip(
        action=action, seed=seed, scene=str(rng.choice(list(TRAINING_SCENES))), look=_look(rng), size=(width, height),
        fps=int(rng.integers(12, 31)), seconds=seconds, tempo=tempo, start=start, camera=camera,
        light=(float(rng.uniform(0.75, 1.12)), (float(red), float(green), float(blue))), crf=int(rng.integers(20, 31)),
    )  # fmt: skip


def draw_clip(clip: Clip) -> np.ndarray:
    """Draws a clip: uint8 RGB (N, height, width, 3)."""
    frames = render(
        clip.action, clip.seed, scene=clip.scene, seconds=clip.seconds * clip.tempo, size=clip.size,
        fps=clip.fps / clip.tempo, start=clip.start, look=clip.look, camera=clip.camera,
    )  # fmt: skip
    exponent, factors = clip.light
    for channel, factor in enumerate(factors):
        table = np.clip(255 * factor * (np.arange(256) / 255) ** exponent, 0, 255).astype(np.uint8)
        frames[..., channel] = table[frames[..., channel]]
    return frames


def make(folder: Path, *, clips: int = 12, seed: int = 0) -> list[Path]:
    """Draws and writes `<folder>/<action>/<action>_<number>.mp4`, `clips` of each action.

    Raises:
        ValueError: `clips` is not 1..10000, or `seed` is negative.
    """
    if not 1 <= clips <= CLIPS_PER_SEED:
        raise ValueError(f"clips is {clips}, not 1..{CLIPS_PER_SEED}")
    if seed < 0:
        raise ValueError(f"seed is {seed}, below 0")
    paths = []
    for action in ACTIONS:
        (folder / action).mkdir(parents=True, exist_ok=True)
        for number in range(clips):
            clip = plan(action, FIRST_SEED + seed * CLIPS_PER_SEED + number)
            path = folder / action / f"{action}_{number}.mp4"
            paths.append(write_mp4(draw_clip(clip), path, fps=clip.fps, crf=clip.crf, preset="veryfast"))
    return paths


def _look(rng: np.random.Generator) -> Look:
    def distinct(taken: tuple[Color, ...], brightest: float) -> Color:
        """A random colour that is far from all of those."""
        while True:
            red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.85), rng.uniform(0.28, brightest))
            color = 255 * red, 255 * green, 255 * blue
            if np.linalg.norm(np.array(taken) - color, axis=1).min() >= MIN_COLOR_DISTANCE:
                return color

    def mixed(colors: tuple[Color, ...]) -> Color:
        """A colour between two of those."""
        first, second = rng.choice(np.array(colors), 2, replace=False)
        red, green, blue = first + rng.uniform(0.3, 0.7) * (second - first)
        return float(red), float(green), float(blue)

    return Look(
        skin=mixed(SKINS),
        hair=mixed(HAIRS),
        shirt=distinct(CLOTHS, 1),
        trousers=distinct(TROUSERS, 0.8),
        shoes=distinct(SHOES, 1),
        girth=float(rng.uniform(0.8, 1.3)),
        short_sleeves=bool(rng.random() < 0.5),
        shorts=bool(rng.random() < 0.4),
        long_hair=bool(rng.random() < 0.4),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=12, help="of each action (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the clips (%(default)s)")
    arguments = parser.parse_args()
    make(arguments.folder, clips=arguments.clips, seed=arguments.seed)
