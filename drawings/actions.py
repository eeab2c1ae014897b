"""The actions that can be drawn: functions from the seconds since the clip began to a `Moment`, by HMDB_simp label."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from drawings.figure import (
    ANKLE,
    FOREARM,
    SHIN,
    THIGH,
    TORSO,
    UPPER_ARM,
    Canvas,
    Color,
    Point,
    Pose,
    at,
    shoulders,
    toward,
)
from drawings.moment import STAND, Drawing, Moment, Setting, between, hand_of, smooth, swing

WOOD: Color = (150, 100, 60)
STEEL: Color = (150, 155, 165)
DARK: Color = (50, 52, 60)


def wave(t: float) -> Moment:
    sway = 0.012 * np.sin(t * 2.2)
    pelvis, lean = at(sway, STAND - 0.01), 1.5 * float(np.sin(t * 2.2))
    near, far = shoulders(pelvis, lean, 1)
    up = near + at(-0.13 + 0.085 * np.sin(t * 9), 0.2)
    pose = Pose(
        pelvis=pelvis, lean=lean, hands=(up, far + at(0.06, -0.27)), feet=(at(-0.09, ANKLE), at(0.09, ANKLE)),
        elbows=(1, -0.6), knees=(-0.3, 0.3), breadth=1, nod=4 * float(np.sin(t * 2.2 + 1)), gaze=0, toes=(200, 160),
    )  # fmt: skip
    return Moment(pose=pose, shadow=0.22)


def pushup(t: float) -> Moment:
    low = swing(t, 1.35)
    feet = at(-0.62, ANKLE + 0.015)
    rise = 0.335 - 0.2 * low
    shoulder = at(0.21, rise + 0.02)
    angle = float(np.degrees(np.arctan2(shoulder[0] - feet[0], shoulder[1] - feet[1])))
    pelvis = shoulder - (TORSO - 0.02) * toward(angle) + at(0, 0.012)
    hands = (at(0.24, 0.02), at(0.27, 0.035))
    pose = Pose(
        pelvis=pelvis, lean=angle, hands=hands, feet=(feet, feet + at(0.02, 0.015)), elbows=(-1, -0.9),
        knees=(0.1, 0.1), breadth=0.12, nod=-14, toes=(165, 165),
    )  # fmt: skip
    return Moment(pose=pose, behind=_mat(-0.75, 0.6), shadow=0.5)


def situp(t: float) -> Moment:
    up = between(swing(t, 1.7), 0.05, 0.95)
    lean = -86 + 100 * up
    pelvis = at(-0.12, 0.075)
    head = pelvis + (TORSO + 0.1) * toward(lean)
    behind_head = head - 0.035 * toward(lean + 90)
    pose = Pose(
        pelvis=pelvis, lean=lean, hands=(behind_head, behind_head + at(0.01, 0.01)),
        feet=(at(0.27, ANKLE), at(0.3, ANKLE)), elbows=(1, 1), knees=(1, 1), breadth=0.12, nod=8 + 12 * up,
    )  # fmt: skip
    return Moment(pose=pose, behind=_mat(-0.62, 0.5), shadow=0.42)


def _mat(left: float, right: float) -> Drawing:
    def drawing(canvas: Canvas) -> None:
        canvas.capsule(at(left, -0.015), at(right, -0.015), 0.03, color=(62, 96, 150), lit=0.4)

    return drawing


def cartwheel(t: float) -> Moment:
    turn, way = t % 4.0, 1.0
    if turn >= 2:  # and back
        turn, way = turn - 2, -1.0
    part = between(turn, 0.35, 1.65)
    angle = way * 360 * part
    lift = between(turn, 0.0, 0.3) * (1 - between(turn, 1.75, 2.0))
    across = way * (1.25 * part - 0.625)
    split = 14 + 34 * np.sin(np.pi * part) ** 2
    pelvis = at(0, 0)
    near, far = shoulders(pelvis, angle, 1)
    raised = 150 * lift
    hands = (hand_of(near, angle - 180 + raised + 12), hand_of(far, angle + 180 - raised - 12))
    feet = tuple((SHIN + THIGH - 0.012) * toward(angle + 180 + side * split) for side in (1, -1))
    lowest = min(*(foot[1] - ANKLE for foot in feet), *(hand[1] - 0.03 for hand in hands))
    move = at(across, -lowest)
    pose = Pose(
        pelvis=pelvis + move, lean=angle, hands=(hands[0] + move, hands[1] + move),
        feet=(feet[0] + move, feet[1] + move), elbows=(0.5, -0.5), knees=(-0.4, 0.4), breadth=1, gaze=0,
        toes=(angle + 180 + split + 14, angle + 180 - split - 14),
    )  # fmt: skip
    return Moment(pose=pose)


def handstand(t: float) -> Moment:
    kick = between(t, 0.25, 1.1)
    wobble = np.sin(t * 3.1) * 2.5 + np.sin(t * 5.3) * 1.2
    lean = 132 + 48 * kick + wobble * kick
    hands = (at(0.0, 0.028), at(0.05, 0.035))
    shoulder = at(0.01, 0.028) + (UPPER_ARM + FOREARM - 0.006) * toward(-8 * (1 - kick) + 0.6 * wobble * kick)
    pelvis = shoulder - (TORSO - 0.02) * toward(lean)
    first = between(t, 0.25, 0.95)
    open_ = 26 * kick * max(0.0, float(np.sin((t - 1.4) * 2.4))) if t > 1.4 else 0.0
    up = lean - 180
    legs = (
        -150 * (1 - first) + (up - open_) * first,
        -110 * (1 - kick) + (up + open_) * kick,
    )
    feet = tuple(pelvis + (SHIN + THIGH - 0.01) * toward(leg) for leg in legs)
    feet = tuple(at(foot[0], max(foot[1], ANKLE)) for foot in feet)
    pose = Pose(
        pelvis=pelvis, lean=lean, hands=hands, feet=(feet[0], feet[1]), elbows=(0.3, 0.3), knees=(0.5, 0.5),
        breadth=0.15, nod=-24, toes=(legs[0] + 20, legs[1] + 20),
    )  # fmt: skip
    return Moment(pose=pose)


def pullup(t: float) -> Moment:
    up = between(swing(t, 1.9), 0.04, 0.96)
    bar, grip = 1.32, 0.19
    low = bar - 0.275 - TORSO
    pelvis = at(0.01 * np.sin(t * 3.3), low + 0.2 * up)
    hands = (at(-grip, bar), at(grip, bar))
    back = 0.02 * np.sin(t * 3.3 + 0.5)
    feet = (pelvis + at(-0.07 + back, -0.44 + 0.05 * up), pelvis + at(0.07 + back, -0.45 + 0.05 * up))

    def frame(canvas: Canvas) -> None:
        for x in (-0.5, 0.5):
            canvas.capsule(at(x, 0), at(x, bar + 0.04), 0.022, color=DARK)
        canvas.capsule(at(-0.54, bar), at(0.54, bar), 0.016, color=STEEL)

    pose = Pose(
        pelvis=pelvis, lean=0, hands=hands, feet=feet, elbows=(1, -1), knees=(-0.5, 0.5), breadth=1, nod=0, gaze=0,
        toes=(190, 170),
    )  # fmt: skip
    return Moment(pose=pose, behind=frame, shadow=0.25)


def golf(t: float) -> Moment:
    t = t % 4.0
    back, down, through = between(t, 0.7, 1.5), between(t, 1.6, 1.85), between(t, 1.85, 2.3)
    rest = between(t, 3.4, 4.0)
    waggle = 3 * float(np.sin(t * 6)) * (1 - between(t, 0.4, 0.7))
    arms = 180 + waggle - 118 * back + 118 * down + 122 * through - 122 * rest  # around the chest, 180 is down
    wrist = arms - 62 * back + 62 * down + 72 * through - 72 * rest  # the club's own angle
    turn = -0.03 * back + 0.05 * down + 0.04 * through - 0.06 * rest
    pelvis = at(turn, STAND - 0.045)
    lean = 3 + 5 * back - 4 * down - 12 * through + 12 * rest
    near, far = shoulders(pelvis, lean, 0.75)
    center = (near + far) / 2
    grip = center + 0.26 * toward(arms) + at(0.02, 0.0)
    head = grip + 0.42 * toward(wrist)
    tee = at(0.03, 0.012)
    flown = max(t - 1.85, 0.0)
    ball = tee + at(-3.6 * flown, 2.2 * flown - 1.2 * flown**2) if t > 1.85 else tee

    def club(canvas: Canvas) -> None:
        canvas.line(grip, head, width=0.013, color=STEEL, lit=0.3)
        canvas.capsule(head, head + 0.045 * toward(wrist - 80), 0.014, color=DARK)

    def ground(canvas: Canvas) -> None:
        flag = at(-0.95, 0.06)
        canvas.line(flag, flag + at(0, 0.42), width=0.01, color=(240, 240, 240))
        canvas.capsule(flag + at(0.04, 0.38), flag + at(0.1, 0.375), 0.035, 0.012, color=(215, 50, 50), lit=0.3)
        canvas.capsule(ball, ball, 0.016, color=(250, 250, 250))

    pose = Pose(
        pelvis=pelvis, lean=lean, hands=(grip, grip + at(0.0, 0.02)), feet=(at(-0.16, ANKLE), at(0.16, ANKLE)),
        elbows=(-0.35, 0.35), knees=(-0.7, 0.7), breadth=0.75, nod=-4, gaze=-0.3 - 0.7 * float(through - rest > 0.5),
        toes=(235, 125),
    )  # fmt: skip
    return Moment(pose=pose, behind=ground, before=club, crossed=True)


def ride_bike(t: float) -> Moment:
    wheel = 0.2
    speed = 1.15
    rear, front = at(-0.33, wheel), at(0.35, wheel)
    crank, saddle, bar = at(-0.02, wheel + 0.01), at(-0.15, 0.56), at(0.27, 0.6)
    bob = 0.006 * float(np.sin(t * 11))
    pelvis = saddle + at(0.0, 0.075 + bob)
    turn = t * speed * 300
    pedals = tuple(crank + 0.085 * toward(turn + half) for half in (0, 180))
    frame_color: Color = (200, 60, 50)

    def bike(canvas: Canvas) -> None:
        for hub in (rear, front):
            canvas.ring(hub, wheel - 0.014, width=0.026, color=DARK)
            for spoke in range(8):
                outward = toward(spoke * 45 + t * speed / wheel * 57.3)
                canvas.line(hub, hub + (wheel - 0.02) * outward, width=0.004, color=STEEL)
        canvas.line(crank, pedals[1], width=0.014, color=STEEL)
        seat, head = saddle + at(0.03, -0.07), bar + at(-0.03, -0.07)
        canvas.line(seat, crank, rear, seat, head, width=0.024, color=frame_color, lit=0.6)
        canvas.line(head + at(0.015, -0.06), crank, width=0.024, color=frame_color, lit=0.6)
        canvas.line(bar, head, front, width=0.022, color=frame_color, lit=0.6)
        canvas.line(bar + at(-0.02, 0), bar + at(0.06, 0.01), width=0.022, color=DARK)
        canvas.line(seat, saddle, width=0.016, color=STEEL)
        canvas.capsule(saddle + at(-0.06, 0), saddle + at(0.05, -0.008), 0.02, 0.012, color=DARK)

    def near(canvas: Canvas) -> None:
        canvas.line(crank, pedals[0], width=0.014, color=STEEL)

    lean = 36 + 1.5 * float(np.sin(t * 5.5))
    soles = tuple(pedal + at(-0.03, 0.035) for pedal in pedals)
    pose = Pose(
        pelvis=pelvis, lean=lean, hands=(bar + at(0.03, 0.02), bar + at(0.045, 0.03)), feet=(soles[0], soles[1]),
        elbows=(-0.8, -0.8), knees=(1, 1), breadth=0.15, nod=-26, toes=(100, 100),
    )  # fmt: skip
    return Moment(pose=pose, behind=bike, before=near, travel=t * speed, shadow=0.45)


def shoot_bow(t: float) -> Moment:
    t = t % 2.4
    draw_, loose = between(t, 0.25, 1.15), 1.55
    lower = between(t, 2.0, 2.4)
    pelvis, lean = at(-0.35, STAND - 0.012), -2.0 * draw_
    near, far = shoulders(pelvis, lean, 0.35)
    height = near[1] + 0.005 - 0.1 * lower
    bow = at(far[0] + UPPER_ARM + FOREARM - 0.005, height)
    drawn = 0.31 * draw_ if t < loose else 0.0
    recoil = 0.05 * between(t, loose, loose + 0.15) * (1 - lower)
    string = at(bow[0] - 0.05 - drawn, height)
    let_go = at(bow[0] - 0.36 - recoil, height + 0.01)
    pull = string if t < loose else let_go * (1 - lower) + at(bow[0] - 0.06, height) * lower
    tips = tuple(bow + at(-0.055 - 0.1 * drawn, side * (0.34 - 0.12 * drawn)) for side in (1, -1))
    flown = max(t - loose, 0.0) * 9
    nock = string + at(flown, 0)
    mark = at(1.02, height + 0.005)
    stuck = flown > mark[0] - string[0] - 0.36
    if stuck:
        nock = at(mark[0] - 0.36, height)

    def target(canvas: Canvas) -> None:
        canvas.line(at(mark[0] + 0.1, 0), at(mark[0] + 0.03, mark[1]), width=0.025, color=WOOD, lit=0.5)
        canvas.line(at(mark[0] - 0.08, 0), at(mark[0] + 0.02, mark[1]), width=0.025, color=WOOD, lit=0.5)
        for radius, color in (
            (0.2, (240, 240, 240)),
            (0.155, (60, 110, 190)),
            (0.105, (210, 50, 45)),
            (0.05, (245, 215, 60)),
        ):
            canvas.capsule(mark + at(0, radius), mark - at(0, radius), radius * 0.36, color=color, lit=0.15)

    def tackle(canvas: Canvas) -> None:
        belly = [bow + at(0.02 - 0.075 * (y / 0.34) ** 2, y * (1 - 0.3 * drawn)) for y in np.linspace(-0.34, 0.34, 13)]
        canvas.line(tips[1], *belly[1:-1], tips[0], width=0.02, color=WOOD, lit=0.5)
        canvas.line(tips[0], string, tips[1], width=0.006, color=(235, 235, 225))
        if lower < 0.5:
            canvas.line(nock, nock + at(0.36, 0), width=0.01, color=(60, 45, 35))
            canvas.capsule(nock, nock + at(0.05, 0), 0.012, color=(230, 230, 235), lit=0.2)

    pose = Pose(
        pelvis=pelvis, lean=lean, hands=(pull, bow), feet=(at(-0.52, ANKLE), at(-0.2, ANKLE)), elbows=(-0.9, -0.4),
        knees=(-0.3, 0.3), breadth=0.35, nod=2, toes=(150, 100),
    )  # fmt: skip
    return Moment(pose=pose, behind=target, before=tackle, shadow=0.3)


def throw(t: float) -> Moment:
    t = t % 2.0
    back, fling = between(t, 0.15, 0.75), between(t, 0.8, 1.02)
    rest = between(t, 1.5, 2.0)
    pelvis = at(-0.5 - 0.06 * back + 0.16 * fling - 0.1 * rest, STAND - 0.02 - 0.015 * fling * (1 - rest))
    lean = -14 * back + 34 * fling - 20 * rest
    near, far = shoulders(pelvis, lean, 0.35)
    angle = 170 - 260 * back + 195 * fling + 65 * rest
    hand = hand_of(near, angle, 0.29 - 0.07 * back * (1 - fling))
    other = hand_of(far, 100 + 60 * fling, 0.28)
    step = 0.2 * between(t, 0.5, 0.85) * (1 - rest)
    free = max(t - 0.98, 0.0)
    ball = hand + 0.03 * toward(angle) if free == 0 else at(-0.2, 0.98) + at(2.8 * free, 0.7 * free - 1.5 * free**2)

    def flying(canvas: Canvas) -> None:
        canvas.capsule(ball, ball, 0.034, color=(225, 120, 40))

    pose = Pose(
        pelvis=pelvis, lean=lean, hands=(hand, other), feet=(at(-0.62, ANKLE), at(-0.4 + step, ANKLE)),
        elbows=(-1, -0.6), knees=(0.8, 0.8), breadth=0.35,
    )  # fmt: skip
    return Moment(pose=pose, before=flying)


def climb_stairs(t: float) -> Moment:
    deep, high, pace = 0.2, 0.13, 1.5
    steps = t * pace
    number, part = int(steps), steps % 1
    rise = smooth(part)
    along = steps * deep

    def tread(index: int) -> Point:
        return at(index * deep - along, index * high)

    lifted = tread(number - 1) + (tread(number + 1) - tread(number - 1)) * rise + at(0, 0.07 * np.sin(np.pi * part))
    standing = tread(number)
    foot_up, foot_down = lifted + at(0, ANKLE), standing + at(0, ANKLE)
    feet = (foot_up, foot_down) if number % 2 else (foot_down, foot_up)
    level = steps * high
    pelvis = at(-0.03, level + STAND - 0.03 - 0.05 * (1 - rise) * part)
    near, far = shoulders(pelvis, 8, 0.2)
    beat = 28 * float(np.cos(np.pi * steps))
    hands = (hand_of(near, 168 + beat, 0.27), hand_of(far, 168 - beat, 0.27))
    down = at(0, -level)  # the camera rises with the figure

    def stairs(canvas: Canvas) -> None:
        for index in range(number - 8, number + 10):
            corner = tread(index) + down
            for depth in np.arange(0.02, 0.5, 0.03):
                canvas.line(
                    corner + at(-0.07, -depth), corner + at(deep - 0.05, -depth), width=0.05, color=(150, 146, 140)
                )
            canvas.line(
                corner + at(-0.08, -0.012), corner + at(deep - 0.06, -0.012), width=0.024, color=(205, 202, 196)
            )

    pose = Pose(
        pelvis=pelvis + down, lean=8, hands=(hands[0] + down, hands[1] + down), feet=(feet[0] + down, feet[1] + down),
        elbows=(-0.9, -0.9), knees=(1, 1),
    )  # fmt: skip
    return Moment(pose=pose, behind=stairs, travel=along * 0.8, shadow=0.0)


ACTIONS: dict[str, tuple[Callable[[float], Moment], Setting]] = {
    "cartwheel": (cartwheel, Setting(scenes=("park", "beach", "gym", "studio"), tall=0.52, gist=(0.4, 1.6))),
    "climb_stairs": (climb_stairs, Setting(scenes=("street", "studio", "park"), tall=0.55, gist=(1.4, 2.8), left=0.45)),
    "golf": (golf, Setting(scenes=("park", "beach"), tall=0.6, gist=(0.8, 2.2), left=0.6)),
    "handstand": (handstand, Setting(scenes=("beach", "gym", "park", "studio"), tall=0.56, gist=(0.9, 1.9))),
    "pullup": (pullup, Setting(scenes=("gym", "park", "studio"), tall=0.54, gist=(1.9, 3.8))),
    "pushup": (pushup, Setting(scenes=("gym", "studio", "beach", "park"), tall=0.8, gist=(1.35, 2.7), left=0.58)),
    "ride_bike": (ride_bike, Setting(scenes=("street", "park"), tall=0.64, gist=(1.2, 2.4))),
    "shoot_bow": (
        shoot_bow,
        Setting(scenes=("park", "studio", "gym"), tall=0.56, gist=(0.4, 1.8), seconds=4.8, left=0.45),
    ),
    "situp": (situp, Setting(scenes=("gym", "studio", "beach"), tall=0.82, gist=(1.7, 3.4))),
    "throw": (throw, Setting(scenes=("beach", "park", "street"), tall=0.56, gist=(0.4, 1.3))),
    "wave": (wave, Setting(scenes=("street", "studio", "park", "beach"), tall=0.74, gist=(0.7, 2.1), seconds=3.2)),
}
