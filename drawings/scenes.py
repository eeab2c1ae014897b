"""Backgrounds by name: wide enough to pan over, drawn once per clip.

`SCENES` are those of the examples, `TRAINING_SCENES` those of the clips to train on; no scene is in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageFilter

from drawings.example_scenes import beach, gym, park, street, studio
from drawings.training_scenes import blur, bricks, court, desert, kitchen, night, parlour, snow, wood

Scene: TypeAlias = Callable[[np.random.Generator, tuple[int, int]], Image.Image]

GROUND = 0.84  # where figures stand, as a fraction of the height

SCENES: dict[str, Scene] = {scene.__name__: scene for scene in (studio, park, gym, street, beach)}
TRAINING_SCENES: dict[str, Scene] = {
    scene.__name__: scene for scene in (snow, bricks, kitchen, court, night, blur, wood, desert, parlour)
}


def background(name: str, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Draws a scene: float32 (H, W, 3), 0..255, slightly out of focus and grainy.

    Args:
        name: a key of `SCENES` or `TRAINING_SCENES`.
        size: (width, height) in pixels.
    """
    image = (SCENES | TRAINING_SCENES)[name](rng, size).filter(ImageFilter.GaussianBlur(0.7))
    pixels = np.asarray(image).astype(np.float32)
    grain = rng.normal(0, 1.6, pixels.shape[:2])[..., None]
    return np.clip(pixels + grain, 0, 255).astype(np.float32)
