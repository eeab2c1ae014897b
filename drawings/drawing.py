"""Renders a clip from an action and a seed.

    frames = render("golf", seed=3)  # uint8 (N, 240, 320, 3), the same each time

The seed determines the figure's looks, the scene, the side it faces, its pace and the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drawings.actions import ACTIONS
from drawings.figure import Canvas, Color, Look, draw
from drawings.scenes import GROUND, background

SIZE = (320, 240)  # width, height
FPS = 25
BACKGROUND_WIDTHS = 1.6  # width of the background, in frame widths, to pan over

SKINS: tuple[Color, ...] = ((246, 205, 175), (225, 170, 130), (190, 130, 92), (140, 92, 64), (100, 66, 48))
HAIRS: tuple[Color, ...] = ((48, 36, 32), (96, 62, 38), (190, 146, 84), (150, 72, 40), (30, 30, 36), (150, 146, 142))
CLOTHS: tuple[Color, ...] = (
    (206, 62, 58), (58, 108, 184), (240, 190, 60), (70, 150, 96), (236, 236, 232), (120, 82, 160), (236, 128, 60),
    (40, 150, 160),
)  # fmt: skip
TROUSERS: tuple[Color, ...] = ((52, 66, 104), (62, 62, 68), (150, 132, 104), (92, 60, 50), (88, 110, 88))
SHOES: tuple[Color, ...] = ((235, 235, 235), (60, 56, 56), (180, 60, 60), (90, 130, 190))


@dataclass(frozen=True, kw_only=True)
class Camera:
    """The position and size of the figure in the picture.

    Attributes:
        zoom: size relative to the action's default.
        aside: shift to the right, as a fraction of the width.
        ground: height of the ground, as a fraction of the height from the top.
    """

    zoom: float = 1.0
    aside: float = 0.0
    ground: float = GROUND


CAMERA = Camera()


def generator(action: str, seed: int) -> np.random.Generator:
    """The random generator of a clip; `random_look` draws from it first, then the scene and the camera."""
    return np.random.default_rng([seed, sorted(ACTIONS).index(action)])


def render(
    action: str,
    seed: int,
    *,
    scene: str | None = None,
    seconds: float | None = None,
    size: tuple[int, int] = SIZE,
    fps: float = FPS,
    start: float = 0.0,
    look: Look | None = None,
    camera: Camera = CAMERA,
) -> np.ndarray:
    """Draws a clip.

    Args:
        action: one of `ACTIONS`, which are labels of HMDB_simp.
        seed: of all random choices.
        scene: a name in `drawings.scenes`; a random one that suits the action, if not given.
        seconds: length; the action's default, if not given.
        size: (width, height) in pixels.
        fps: frames per second.
        start: seconds of the action before the clip begins.
        look: of the figure; random, if not given.
        camera: position and size of the figure.

    Returns:
        uint8 RGB (N, height, width, 3).

    Raises:
        ValueError: the action cannot be drawn.
    """
    if action not in ACTIONS:
        raise ValueError(f"{action} cannot be drawn; known are {', '.join(ACTIONS)}")
    move, setting = ACTIONS[action]
    rng = generator(action, seed)
    look = look or random_look(rng)
    width, height = size
    scene = scene or str(rng.choice(setting.scenes))
    wide = int(width * BACKGROUND_WIDTHS)
    behind = background(scene, rng, (wide, height))
    mirrored = bool(rng.random() < 0.5)
    scale = height * setting.tall * rng.uniform(0.93, 1.07) * camera.zoom
    pace = rng.uniform(0.9, 1.12)
    left = (1 - setting.left if mirrored else setting.left) + rng.uniform(-0.02, 0.02) + camera.aside
    shake = rng.uniform(0, 6, 4)
    frames = []
    for index in range(round((seconds or setting.seconds) * fps)):
        t = index / fps
        moment = move(start + t * pace)
        sway_x, sway_y = 2.2 * np.sin(t * 1.3 + shake[0]) + 0.8 * np.sin(t * 3.1 + shake[1]), np.sin(t * 1.7 + shake[2])
        pan = (wide - width) / 2 + sway_x + (-1 if mirrored else 1) * moment.travel * scale
        columns = np.arange(width) + round(pan)
        picture = behind[:, _reflect(columns, wide)].copy()
        canvas = Canvas(picture, scale, (width * left - sway_x * 0.4, height * camera.ground + sway_y), mirrored)
        if moment.shadow:
            canvas.shadow(float(moment.pose.pelvis[0]), moment.shadow)
        if moment.behind:
            moment.behind(canvas)
        draw(canvas, moment.pose, look, over=float(moment.crossed))
        if moment.before:
            moment.before(canvas)
        frames.append(np.clip(np.rint(canvas.pixels), 0, 255).astype(np.uint8))
    return np.stack(frames)


def _reflect(columns: np.ndarray, wide: int) -> np.ndarray:
    """Column indices reflected at the edges, so that a background continues without a seam."""
    place = columns % (2 * wide)
    return np.where(place < wide, place, 2 * wide - 1 - place)


def random_look(rng: np.random.Generator) -> Look:
    """A random figure in variations of the colours above."""

    def one_of(colors: tuple[Color, ...]) -> Color:
        red, green, blue = np.clip(np.array(colors[rng.integers(len(colors))]) + rng.normal(0, 7, 3), 10, 250)
        return float(red), float(green), float(blue)

    return Look(
        skin=one_of(SKINS),
        hair=one_of(HAIRS),
        shirt=one_of(CLOTHS),
        trousers=one_of(TROUSERS),
        shoes=one_of(SHOES),
        girth=float(rng.uniform(0.9, 1.14)),
        short_sleeves=bool(rng.random() < 0.65),
        shorts=bool(rng.random() < 0.4),
        long_hair=bool(rng.random() < 0.4),
    )
