"""A moment of an action: a pose and the things around it; and the motion curves that actions are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from drawings.figure import ANKLE, FOREARM, SHIN, THIGH, UPPER_ARM, Canvas, Point, Pose, toward

Drawing: TypeAlias = Callable[[Canvas], None]

STAND = SHIN + THIGH + ANKLE - 0.008


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A pose, and the things drawn behind and in front of it.

    Attributes:
        travel: distance that the camera has followed, in body heights.
        crossed: both arms are in front of the body.
    """

    pose: Pose
    behind: Drawing | None = None
    before: Drawing | None = None
    travel: float = 0.0
    crossed: bool = False
    shadow: float = 0.3


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The defaults of an action.

    Attributes:
        scenes: that suit it.
        tall: height of the figure, as a fraction of the picture.
        gist: start and end, in seconds, of the part that makes it recognizable.
        seconds: length of a clip.
        left: x of the origin, as a fraction of the width.
    """

    scenes: tuple[str, ...]
    tall: float
    gist: tuple[float, float]
    seconds: float = 4.0
    left: float = 0.5


def smooth(x: float) -> float:
    """The smoothstep function: 0 below 0, 1 above 1."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def between(x: float, start: float, end: float) -> float:
    return smooth((x - start) / (end - start))


def swing(t: float, period: float = 1.0) -> float:
    """A cosine from 0 to 1 and back, once per period."""
    return float(0.5 - 0.5 * np.cos(2 * np.pi * t / period))


def hand_of(shoulder: Point, angle: float, length: float = UPPER_ARM + FOREARM) -> Point:
    return shoulder + length * toward(angle)
