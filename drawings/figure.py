"""An articulated figure: its pose, inverse kinematics and rendering.

Lengths are in body heights, y points up and 0 is the ground. Angles are in degrees from upright,
clockwise, so that 90 points to +x. Every part of the figure is a tapered capsule, shaded as a round
body lit from above and antialiased by its distance field.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Point: TypeAlias = np.ndarray  # (2,): x, y
Color: TypeAlias = tuple[float, float, float]  # 0..255

SHIN, THIGH, TORSO, NECK, FOREARM, UPPER_ARM = 0.245, 0.25, 0.29, 0.125, 0.15, 0.16
HEAD, FOOT, ANKLE = 0.078, 0.075, 0.035
SHOULDER, HIP = 0.105, 0.055  # half widths, seen from the front
LIGHT = np.array([-0.45, 0.6, 0.66])


def at(x: float, y: float) -> Point:
    return np.array([x, y], float)


def toward(angle: float) -> Point:
    """The unit vector of an angle: 0 is up, 90 is +x."""
    return at(np.sin(np.radians(angle)), np.cos(np.radians(angle)))


@dataclass(frozen=True, kw_only=True)
class Pose:
    """The pose of a figure. Of two limbs the first is nearer to the camera.

    Attributes:
        pelvis: position of the root joint.
        lean: angle of the spine.
        hands, feet: targets of wrists and ankles; a limb that is too short points at its target.
        elbows, knees: direction in which they bend, -1..1; 1 is +x for a limb that hangs down.
        breadth: 0 seen from the side, 1 from the front.
        nod: angle of the head relative to the spine.
        gaze: direction of the face: 1 for +x, -1 for -x, 0 for the camera.
        toes: angles of the feet.
    """

    pelvis: Point
    lean: float
    hands: tuple[Point, Point]
    feet: tuple[Point, Point]
    elbows: tuple[float, float] = (-1, -1)
    knees: tuple[float, float] = (1, 1)
    breadth: float = 0.2
    nod: float = 0
    gaze: float = 1
    toes: tuple[float, float] = (95, 95)

    @property
    def neck(self) -> Point:
        return self.pelvis + TORSO * toward(self.lean)

    @property
    def head(self) -> Point:
        return self.neck + NECK * toward(self.lean + self.nod)


def shoulders(pelvis: Point, lean: float, breadth: float = 0.2) -> tuple[Point, Point]:
    neck = pelvis + (TORSO - 0.02) * toward(lean)
    across = SHOULDER * breadth * toward(lean + 90)
    return neck - across, neck + across


def hips(pelvis: Point, lean: float, breadth: float = 0.2) -> tuple[Point, Point]:
    across = HIP * breadth * toward(lean + 90)
    return pelvis - across, pelvis + across


def reach(start: Point, target: Point, upper: float, lower: float, bend: float) -> tuple[Point, Point]:
    """Two-bone inverse kinematics: the middle joint and the end of a limb, given its target."""
    way = target - start
    far = float(np.hypot(*way))
    along = way / far if far > 1e-6 else at(0, -1)
    distance = min(max(far, abs(upper - lower) + 1e-4), upper + lower - 1e-4)
    aside = np.array([-along[1], along[0]])
    foot = (upper**2 - lower**2 + distance**2) / (2 * distance)
    height = np.sqrt(max(upper**2 - foot**2, 0))
    return start + foot * along + bend * height * aside, start + distance * along


@dataclass(frozen=True, kw_only=True)
class Look:
    """Colours and build of a figure."""

    skin: Color
    hair: Color
    shirt: Color
    trousers: Color
    shoes: Color
    girth: float = 1.0
    short_sleeves: bool = True
    shorts: bool = False
    long_hair: bool = False


class Canvas:
    """An image to draw on, in body coordinates.

    Attributes:
        pixels: float32 (H, W, 3), 0..255.
    """

    def __init__(self, pixels: np.ndarray, scale: float, origin: tuple[float, float], mirrored: bool = False) -> None:
        """
        Args:
            scale: pixels in a body height.
            origin: (x, y) of the pixel on which (0, 0) lies.
            mirrored: draws +x to the left.
        """
        self.pixels, self.scale, self.origin = pixels, scale, origin
        self.side = -1 if mirrored else 1

    def _pixel(self, point: Point) -> np.ndarray:
        return np.array([self.origin[0] + self.side * point[0] * self.scale, self.origin[1] - point[1] * self.scale])

    def capsule(
        self, start: Point, end: Point, radius: float, end_radius: float | None = None, *, color: Color, lit: float = 1
    ) -> None:
        """A rounded limb from start to end; `lit` is the strength of its shading, 0 (flat) to 1."""
        a, b = self._pixel(start), self._pixel(end)
        ra = max(radius * self.scale, 0.35)
        rb = ra if end_radius is None else max(end_radius * self.scale, 0.35)
        reach = max(ra, rb) + 1
        height, width, _ = self.pixels.shape
        left, top = np.floor(np.minimum(a, b) - reach).astype(int).clip(0)
        right, bottom = np.ceil(np.maximum(a, b) + reach).astype(int) + 1
        right, bottom = min(right, width), min(bottom, height)
        if left >= right or top >= bottom:
            return
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        along = b - a
        length = max(float(along @ along), 1e-9)
        place = np.clip(((x - a[0]) * along[0] + (y - a[1]) * along[1]) / length, 0, 1)
        thick = ra + (rb - ra) * place
        out_x, out_y = (x - a[0] - place * along[0]) / thick, (y - a[1] - place * along[1]) / thick
        out = np.hypot(out_x, out_y)
        cover = np.clip((1 - out) * thick + 0.5, 0, 1)[..., None]
        normal_z = np.sqrt(np.clip(1 - out**2, 0, 1))
        light = np.clip(out_x * LIGHT[0] - out_y * LIGHT[1] + normal_z * LIGHT[2], 0, 1)
        shade = (1 - lit) + lit * (0.6 + 0.5 * light)
        area = self.pixels[top:bottom, left:right]
        area += cover * (np.clip(np.array(color) * shade[..., None], 0, 255) - area)

    def line(self, *points: Point, width: float = 0.012, color: Color, lit: float = 0.0) -> None:
        for start, end in itertools.pairwise(points):
            self.capsule(start, end, width / 2, color=color, lit=lit)

    def ring(self, center: Point, radius: float, *, width: float, color: Color) -> None:
        angles = np.linspace(0, 360, 33)
        self.line(*(center + radius * toward(angle) for angle in angles), width=width, color=color)

    def shadow(self, x: float, breadth: float, strength: float = 0.35) -> None:
        """A soft shadow on the ground below x."""
        height, width, _ = self.pixels.shape
        center = self._pixel(at(x, -0.01))
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        far = ((columns - center[0]) / (breadth * self.scale)) ** 2 + ((rows - center[1]) / (0.05 * self.scale)) ** 2
        self.pixels *= 1 - strength * np.exp(-far)[..., None]


def darker(color: Color, factor: float) -> Color:
    return (color[0] * factor, color[1] * factor, color[2] * factor)


def draw(canvas: Canvas, pose: Pose, look: Look, *, over: float = 0.0) -> None:
    """Draws the figure: the farther limbs, darker, then trunk and head, then the nearer limbs.

    Args:
        over: above 0, the farther arm is drawn after the trunk too, for poses with both hands in front of the body.
    """
    _leg(canvas, pose, look, 1, 0.8)
    if not over:
        _arm(canvas, pose, look, 1, 0.8)
    _leg(canvas, pose, look, 0, 1.0)
    facing = abs(pose.gaze) < 0.6  # then long hair falls behind the trunk
    if look.long_hair and facing:
        _long_hair(canvas, pose, look)
    _trunk(canvas, pose, look)
    if look.long_hair and not facing:
        _long_hair(canvas, pose, look)
    _head(canvas, pose, look)
    if over:
        _arm(canvas, pose, look, 1, 0.94)
    _arm(canvas, pose, look, 0, 1.0)


def _leg(canvas: Canvas, pose: Pose, look: Look, which: int, shade: float) -> None:
    hip = hips(pose.pelvis, pose.lean, pose.breadth)[which]
    knee, ankle = reach(hip, pose.feet[which], THIGH, SHIN, pose.knees[which])
    cloth = darker(look.trousers, shade)
    bare = darker(look.skin, shade) if look.shorts else cloth
    wide = look.girth
    toe = ankle + FOOT * toward(pose.toes[which])
    canvas.capsule(ankle, toe, 0.024, 0.02, color=darker(look.shoes, shade))
    canvas.capsule(knee, ankle, 0.036 * wide, 0.023 * wide, color=bare)
    if look.shorts:
        canvas.capsule(hip, knee, 0.053 * wide, 0.036 * wide, color=bare)
        canvas.capsule(hip, hip + (knee - hip) * 0.6, 0.06 * wide, 0.054 * wide, color=cloth)
    else:
        canvas.capsule(hip, knee, 0.056 * wide, 0.039 * wide, color=cloth)


def _arm(canvas: Canvas, pose: Pose, look: Look, which: int, shade: float) -> None:
    shoulder = shoulders(pose.pelvis, pose.lean, pose.breadth)[which]
    elbow, wrist = reach(shoulder, pose.hands[which], UPPER_ARM, FOREARM, pose.elbows[which])
    skin, cloth = darker(look.skin, shade), darker(look.shirt, shade)
    wide = look.girth
    bare = skin if look.short_sleeves else cloth
    canvas.capsule(elbow, wrist, 0.026 * wide, 0.019 * wide, color=bare)
    along = (wrist - elbow) / max(float(np.hypot(*(wrist - elbow))), 1e-6)
    canvas.capsule(wrist, wrist + 0.028 * along, 0.022, 0.018, color=skin)
    canvas.capsule(shoulder, elbow, 0.033 * wide, 0.027 * wide, color=bare)
    if look.short_sleeves:
        canvas.capsule(shoulder, shoulder + (elbow - shoulder) * 0.5, 0.038 * wide, 0.036 * wide, color=cloth)
    else:
        canvas.capsule(shoulder, elbow, 0.038 * wide, 0.031 * wide, color=cloth)


def _trunk(canvas: Canvas, pose: Pose, look: Look) -> None:
    wide = look.girth
    up = toward(pose.lean)
    side = toward(pose.lean + 90)
    canvas.capsule(pose.pelvis, pose.pelvis + 0.02 * up, 0.066 * wide, color=look.trousers)
    canvas.capsule(pose.neck, pose.head, 0.028, color=darker(look.skin, 0.86))
    waist, chest = pose.pelvis + 0.045 * up, pose.neck - 0.06 * up
    spread = (SHOULDER - 0.035) * pose.breadth * side
    canvas.capsule(waist, chest, 0.064 * wide, 0.074 * wide, color=look.shirt)
    if pose.breadth > 0.3:
        for edge in (spread, -spread):
            canvas.capsule(waist + 0.35 * edge, chest + edge, 0.052 * wide, 0.056 * wide, color=look.shirt, lit=0.7)
        canvas.capsule(waist, chest, 0.07 * wide, 0.1 * wide * (0.6 + 0.4 * pose.breadth), color=look.shirt, lit=0.35)


def _long_hair(canvas: Canvas, pose: Pose, look: Look) -> None:
    up, side = toward(pose.lean + pose.nod), toward(pose.lean + pose.nod + 90)
    crown, tips = pose.head - 0.02 * pose.gaze * side, pose.head - 0.1 * up - 0.04 * pose.gaze * side
    canvas.capsule(crown, tips, 0.072, 0.05, color=look.hair)


def _head(canvas: Canvas, pose: Pose, look: Look) -> None:
    up = toward(pose.lean + pose.nod)
    side = toward(pose.lean + pose.nod + 90)
    head = pose.head
    canvas.capsule(head + 0.012 * up - 0.012 * pose.gaze * side, head + 0.02 * up, HEAD * 1.04, color=look.hair)
    canvas.capsule(
        head - 0.012 * up + 0.02 * pose.gaze * side, head - 0.03 * up + 0.016 * pose.gaze * side, HEAD * 0.86,
        HEAD * 0.7, color=look.skin,
    )  # fmt: skip
    canvas.capsule(  # the fringe
        head + 0.06 * up - 0.03 * side + 0.01 * pose.gaze * side, head + 0.06 * up + 0.03 * side, 0.024, color=look.hair
    )
    dark = (45.0, 35.0, 35.0)
    face = head - 0.008 * up + 0.042 * pose.gaze * side
    if abs(pose.gaze) > 0.6:
        turn = np.sign(pose.gaze)
        canvas.capsule(face + 0.032 * turn * side - 0.012 * up, face + 0.042 * turn * side - 0.016 * up, 0.011,
                       color=look.skin)  # fmt: skip
        canvas.capsule(face + 0.016 * turn * side, face + 0.016 * turn * side + 0.008 * up, 0.008, color=dark, lit=0)
        return
    for eye in (-0.026, 0.026):
        canvas.capsule(face + eye * side, face + eye * side + 0.01 * up, 0.008, color=dark, lit=0)
    mouth = [face + x * side - (0.036 - 8 * x**2) * up for x in (-0.022, -0.008, 0.008, 0.022)]
    canvas.line(*mouth, width=0.011, color=(150, 60, 60))
