"""Draws a small data set of people in front of fixed cameras: `python -m drawings.make_people FOLDER [--seed 0]`.

Nine people perform ten actions, one clip each, as in the Weizmann data set (Blank et al., ICCV 2005; nothing is copied
from it): `<action>/<person>_<action>.mp4`, 90 clips of 1 to 3 seconds. Each person has one background.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drawings.drawing import random_look
from drawings.figure import ANKLE, Canvas, Look, Point, Pose, at, draw, hips, shoulders, toward
from drawings.make_examples import write_mp4
from drawings.moment import STAND, Moment, between, hand_of, swing
from drawings.scenes import GROUND, SCENES, background

SIZE = (192, 144)  # width, height
FPS = 25
PATH_LENGTH = 1.9  # body heights that a moving person covers
PEOPLE = ("anna", "boris", "chen", "dara", "emil", "fatou", "goran", "hana", "ivo")


@dataclass(frozen=True, kw_only=True)
class Action:
    """An action as a function of time and place.

    Attributes:
        move: (seconds, x of the pelvis in body heights from the middle) -> moment.
        speed: body heights per second across the picture; 0 on the spot.
        seconds: length of a clip on the spot.
    """

    move: Callable[[float, float], Moment]
    speed: float = 0.0
    seconds: float = 2.4


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person's looks, background, height and speed.

    Attributes:
        look: of the figure.
        picture: background, float32 RGB (height, width, 3), 0..255.
        height: as a fraction of the picture's height.
        pace: factor on the speed of the actions.
    """

    look: Look
    picture: np.ndarray
    height: float
    pace: float


def _steps(t: float, x: float, height: float, stride: float, lift: float, cadence: float) -> tuple[Point, Point]:
    """Positions of two alternating feet: the one in the air moves forward."""
    phase = 2 * np.pi * cadence * t
    return tuple(  # type: ignore[return-value]
        at(x + stride * np.sin(angle), ANKLE + height + lift * max(0.0, float(np.cos(angle))))
        for angle in (phase, phase + np.pi)
    )


def _along(t: float, x: float, *, cadence: float, stride: float, lift: float, bounce: float, lean: float) -> Moment:
    """Walking or running, seen from the side; the arms swing against the legs."""
    phase = 2 * np.pi * cadence * t
    hop = bounce * abs(float(np.sin(phase)))
    pelvis = at(x, STAND - 0.02 + hop)
    near, far = shoulders(pelvis, lean)
    beat, length = 170 * stride * float(np.sin(phase)), 0.27 - 0.6 * bounce
    hands = (hand_of(near, 175 + beat - 2 * lean, length), hand_of(far, 175 - beat - 2 * lean, length))
    feet = _steps(t, x, hop * 0.8, stride, lift, cadence)
    return Moment(pose=Pose(pelvis=pelvis, lean=lean, hands=hands, feet=feet))


def walk(t: float, x: float) -> Moment:
    return _along(t, x, cadence=0.9, stride=0.17, lift=0.05, bounce=0.01, lean=3)


def run(t: float, x: float) -> Moment:
    return _along(t, x, cadence=1.5, stride=0.26, lift=0.16, bounce=0.06, lean=15)


def skip(t: float, x: float) -> Moment:
    """Hops forward on one leg."""
    hop = 0.13 * swing(t, 0.5)
    pelvis = at(x, STAND - 0.03 + hop)
    near, far = shoulders(pelvis, 6)
    hands = (hand_of(near, 120 + 40 * hop / 0.13, 0.25), hand_of(far, 160, 0.25))
    feet = (at(x + 0.02, ANKLE + hop), pelvis + at(-0.1, -0.27))
    return Moment(pose=Pose(pelvis=pelvis, lean=6, hands=hands, feet=feet))


def jump(t: float, x: float) -> Moment:
    """Jumps forward on both legs."""
    fly = 0.17 * swing(t, 0.7)
    crouch = 0.09 * max(0.0, 1 - fly / 0.05)
    pelvis, lean = at(x, STAND - 0.02 + fly - crouch), 8 + 150 * crouch
    near, far = shoulders(pelvis, lean)
    raised = 190 - 500 * fly
    feet = (at(x + 0.01, ANKLE + fly), at(x + 0.05, ANKLE + fly))
    return Moment(
        pose=Pose(pelvis=pelvis, lean=lean, hands=(hand_of(near, raised), hand_of(far, raised + 8)), feet=feet)
    )


def _facing(pelvis: Point, hands: tuple[Point, Point], feet: tuple[Point, Point]) -> Moment:
    return Moment(
        pose=Pose(
            pelvis=pelvis, lean=0, hands=hands, feet=feet, elbows=(1, -1), knees=(-0.4, 0.4), breadth=1, gaze=0,
            toes=(200, 160),
        )
    )  # fmt: skip


def _hanging_hands(pelvis: Point, spread: float = 10) -> tuple[Point, Point]:
    near, far = shoulders(pelvis, 0, 1)
    return hand_of(near, 180 + spread, 0.29), hand_of(far, 180 - spread, 0.29)


def _feet_under(pelvis: Point, apart: float, height: float) -> tuple[Point, Point]:
    left, right = hips(pelvis, 0, 1)
    return at(left[0] - apart, ANKLE + height), at(right[0] + apart, ANKLE + height)


def side(t: float, x: float) -> Moment:
    """Steps sideways, feet together and apart in turn."""
    open_ = swing(t, 0.55)
    hop = 0.06 * swing(t + 0.27, 0.55)
    pelvis = at(x, STAND - 0.02 - 0.02 * open_ + hop)
    return _facing(pelvis, _hanging_hands(pelvis, 14), _feet_under(pelvis, 0.15 * open_ - 0.03, hop))


def pjump(t: float, x: float) -> Moment:
    """Jumps on the spot."""
    fly = 0.2 * swing(t, 0.65)
    crouch = 0.08 * max(0.0, 1 - fly / 0.05)
    pelvis = at(x, STAND - 0.02 + fly - crouch)
    return _facing(pelvis, _hanging_hands(pelvis, 16), _feet_under(pelvis, 0.0, fly))


def jack(t: float, x: float) -> Moment:
    """A jumping jack: arms and legs open and close together."""
    open_ = swing(t, 0.9)
    hop = 0.07 * swing(t, 0.45)
    pelvis = at(x, STAND - 0.02 - 0.03 * open_ + hop)
    return _facing(pelvis, _hanging_hands(pelvis, 12 + 150 * open_), _feet_under(pelvis, 0.17 * open_, hop))


def bend(t: float, x: float) -> Moment:
    """Bends down to the toes and up again."""
    down = between(t, 0.2, 1.0) * (1 - between(t, 1.3, 2.1))
    lean = 108 * down
    pelvis = at(x - 0.08 * down, STAND - 0.02 - 0.03 * down)
    near, far = shoulders(pelvis, lean)
    hands = (hand_of(near, 178 - 6 * down), hand_of(far, 176 - 6 * down))
    return Moment(pose=Pose(pelvis=pelvis, lean=lean, hands=hands, feet=(at(x, ANKLE), at(x + 0.05, ANKLE))))


def _wave(t: float, pelvis: Point, which: int) -> Point:
    shoulder, outward = shoulders(pelvis, 0, 1)[which], 1 if which else -1
    return shoulder + 0.3 * toward(outward * (62 + 42 * float(np.sin(2 * np.pi * t / 0.8))))


def wave1(t: float, x: float) -> Moment:
    pelvis = at(x, STAND - 0.01)
    return _facing(pelvis, (_wave(t, pelvis, 0), _hanging_hands(pelvis)[1]), _feet_under(pelvis, 0.02, 0))


def wave2(t: float, x: float) -> Moment:
    pelvis = at(x, STAND - 0.01)
    return _facing(pelvis, (_wave(t, pelvis, 0), _wave(t, pelvis, 1)), _feet_under(pelvis, 0.02, 0))


ACTIONS = {
    "bend": Action(move=bend, seconds=2.3),
    "jack": Action(move=jack),
    "jump": Action(move=jump, speed=0.95),
    "pjump": Action(move=pjump, seconds=2.0),
    "run": Action(move=run, speed=1.7),
    "side": Action(move=side, speed=0.75),
    "skip": Action(move=skip, speed=0.85),
    "walk": Action(move=walk, speed=0.7),
    "wave1": Action(move=wave1),
    "wave2": Action(move=wave2),
}


def person(name: str, seed: int = 0) -> Person:
    rng = np.random.default_rng([seed, PEOPLE.index(name)])
    scene = sorted(SCENES)[PEOPLE.index(name) % len(SCENES)]
    return Person(
        look=random_look(rng),
        picture=background(scene, rng, SIZE),
        height=float(rng.uniform(0.52, 0.62)),
        pace=float(rng.uniform(0.88, 1.14)),
    )


def draw_clip(name: str, action: str, seed: int = 0) -> np.ndarray:
    """Draws a person in an action before a fixed camera: uint8 RGB (N, height, width, 3)."""
    performer, performance = person(name, seed), ACTIONS[action]
    rng = np.random.default_rng([seed, PEOPLE.index(name), sorted(ACTIONS).index(action)])
    pace, aside, begin = performer.pace * rng.uniform(0.95, 1.05), rng.uniform(-0.3, 0.3), rng.uniform(0, 0.3)
    seconds = PATH_LENGTH / performance.speed if performance.speed else performance.seconds
    width, height = SIZE
    mirrored = bool(rng.random() < 0.5)
    frames = []
    for index in range(round(seconds / pace * FPS)):
        t = index / FPS * pace
        x = t * performance.speed - PATH_LENGTH / 2 if performance.speed else aside
        moment = performance.move(t if action == "bend" else t + begin, x)
        canvas = Canvas(performer.picture.copy(), height * performer.height, (width / 2, height * GROUND), mirrored)
        canvas.shadow(x, 0.2, moment.shadow)
        draw(canvas, moment.pose, performer.look)
        frames.append(np.clip(np.rint(canvas.pixels), 0, 255).astype(np.uint8))
    return np.stack(frames)


def make(
    folder: Path, *, people: Iterable[str] = PEOPLE, actions: Iterable[str] = tuple(ACTIONS), seed: int = 0
) -> list[Path]:
    """Draws and writes `<folder>/<action>/<person>_<action>.mp4`."""
    people, paths = tuple(people), []
    for action in actions:
        (folder / action).mkdir(parents=True, exist_ok=True)
        for name in people:
            path = folder / action / f"{name}_{action}.mp4"
            paths.append(write_mp4(draw_clip(name, action, seed), path, fps=FPS, crf=20, preset="veryfast"))
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="seed of the people's looks (%(default)s)")
    arguments = parser.parse_args()
    make(arguments.folder, seed=arguments.seed)
