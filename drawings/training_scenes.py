"""Backgrounds of the clips to train on; none is also a background of the examples."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from drawings.painting import gradient, hsv


def snow(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Mountains, firs and a field of snow, by day or at dusk."""
    width, height = size
    unit = height / 240
    horizon = int(height * rng.uniform(0.5, 0.68))
    hue, dusk = rng.choice([0.58, 0.62, 0.75, 0.95, 0.08]), rng.uniform(0.7, 1)
    image = gradient(size, hsv(hue, rng.uniform(0.2, 0.6), 0.85 * dusk), hsv(hue + 0.05, 0.12, dusk))
    draw = ImageDraw.Draw(image)
    for layer in range(int(rng.integers(1, 4))):
        top = _ridge(rng, width, horizon - (70 - 22 * layer) * unit, rng.uniform(8, 16) * unit, 14 * unit)
        value = (0.5 + 0.1 * layer) * dusk
        for drop, color in ((0, hsv(0.6, 0.04, 0.97 * dusk)), (rng.uniform(10, 22) * unit, hsv(0.62, 0.3, value))):
            below = [(x, y + drop + (rng.uniform(0, 9) * unit if drop else 0)) for x, y in top]
            draw.polygon([*below, (width, height), (0, height)], fill=color)
    for _ in range(int(rng.uniform(0, 22) * width / height)):
        x, tall, foot = rng.uniform(0, width), rng.uniform(16, 62) * unit, horizon + rng.uniform(0, 10) * unit
        for row in range(4):
            y, half = foot - tall * (0.15 + 0.2 * row), tall * (0.26 - 0.055 * row)
            fir = ((x - half, y), (x + half, y), (x, y - tall * 0.34))
            draw.polygon(fir, fill=hsv(0.4, 0.35, (0.3 + 0.06 * row) * dusk))
    field = gradient((width, height - horizon), hsv(0.6, 0.12, 0.82 * dusk), hsv(hue, 0.04, 0.98 * dusk))
    tracks = ImageDraw.Draw(field, "RGBA")
    for _ in range(int(rng.integers(0, 60))):
        x, y, long = rng.uniform(0, width), rng.uniform(0, field.height), rng.uniform(5, 60) * unit
        tracks.line((x, y, x + long, y + rng.normal(0, 3) * unit), fill=(90, 110, 160, 60), width=2)
    image.paste(field, (0, horizon))
    flakes = ImageDraw.Draw(image)
    for _ in range(int(rng.choice([0, 0, 150, 400]))):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.4, 1.6) * unit
        flakes.ellipse((x - r, y - r, x + r, y + r), fill=(250, 250, 252))
    return image


def _ridge(rng: np.random.Generator, width: int, level: float, rough: float, step: float) -> list[tuple[float, float]]:
    """Points of a skyline from left to right that wanders about a level."""
    across = np.arange(-step, width + 2 * step, step)
    walk = np.zeros(len(across))
    for index in range(1, len(across)):
        walk[index] = 0.85 * walk[index - 1] + rng.normal(0, rough)
    return [(float(x), float(level + y)) for x, y in zip(across, walk, strict=True)]


def bricks(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A wall of bricks or blocks, with posters, over slabs."""
    width, height = size
    edge = int(height * rng.uniform(0.66, 0.8))
    hue, saturation, value = rng.choice([0.02, 0.04, 0.09, 0.6]), rng.uniform(0.1, 0.6), rng.uniform(0.4, 0.8)
    image = Image.new("RGB", size, hsv(0.1, 0.08, rng.uniform(0.45, 0.85)))
    draw = ImageDraw.Draw(image)
    tall = height * rng.uniform(0.03, 0.07)
    wide = tall * rng.uniform(1.8, 3)
    for row in range(int(edge / tall) + 1):
        for column in range(-1, int(width / wide) + 1):
            x, y = (column + row % 2 / 2) * wide, row * tall
            color = hsv(hue + rng.normal(0, 0.008), saturation, float(np.clip(value + rng.normal(0, 0.05), 0, 1)))
            draw.rectangle((x, y, x + wide - tall * 0.14, y + tall * 0.86), fill=color)
    for _ in range(int(rng.integers(0, 6))):
        x, y, side = rng.uniform(0, width), rng.uniform(0.05, 0.4) * height, rng.uniform(0.12, 0.3) * height
        draw.rectangle((x, y, x + side * 0.75, y + side), fill=hsv(rng.random(), 0.3, 0.9))
        disc = (x + 0.15 * side, y + 0.2 * side, x + 0.6 * side, y + 0.7 * side)
        draw.ellipse(disc, fill=hsv(rng.random(), 0.6, 0.6))
    grey = rng.uniform(0.3, 0.7)
    image.paste(gradient((width, height - edge), hsv(0.1, 0.06, grey), hsv(0.1, 0.08, grey + 0.15)), (0, edge))
    _converge(ImageDraw.Draw(image), size, edge, height * rng.uniform(0.15, 0.35), hsv(0.1, 0.08, grey - 0.12))
    return image


def _converge(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], edge: int, step: float, color: tuple[int, int, int]
) -> None:
    """The joints of square slabs on the ground below an edge."""
    width, height = size
    for x in np.arange(-width, 2 * width, step):
        draw.line((width / 2 + (x - width / 2) * 0.55, edge, width / 2 + (x - width / 2) * 1.3, height), fill=color)
    y, gap = float(edge), (height - edge) * 0.08
    while y < height:
        draw.line((0, y, width, y), fill=color)
        y, gap = y + gap, gap * 1.5


def kitchen(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Cupboards over tiles over cupboards, a fridge, a window, a chequered floor."""
    width, height = size
    unit = height / 240
    edge, hue = int(height * rng.uniform(0.68, 0.76)), rng.random()
    front = rng.uniform((0, 0.1, 0.5), (1, 0.6, 0.9))
    image = gradient(size, hsv(hue, 0.1, 0.95), hsv(hue, 0.16, 0.85))
    draw = ImageDraw.Draw(image)
    shelf, bench = height * rng.uniform(0.24, 0.32), edge - height * rng.uniform(0.24, 0.3)
    tile = rng.uniform(7, 14) * unit
    for x in np.arange(0, width, tile):
        for y in np.arange(shelf, bench, tile):
            draw.rectangle((x, y, x + tile - 1, y + tile - 1), fill=hsv(hue + 0.4, 0.2, rng.uniform(0.75, 0.95)))
    door, line, knob = hsv(*front), hsv(front[0], front[1], front[2] * 0.75), (225, 225, 220)
    x = -rng.uniform(0, 40) * unit
    while x < width:
        wide, kind = rng.uniform(32, 60) * unit, rng.random()
        draw.rectangle((x, bench, x + wide, edge), fill=door, outline=line)
        draw.rectangle((x + wide * 0.4, bench + 9 * unit, x + wide * 0.6, bench + 11 * unit), fill=knob)
        if kind < 0.2:
            draw.rectangle((x, height * 0.12, x + wide, edge), fill=hsv(hue, 0.03, 0.93), outline=(170, 172, 176))
            draw.line((x, height * 0.36, x + wide, height * 0.36), fill=(150, 152, 156))
        elif kind < 0.45:
            draw.rectangle((x, 0, x + wide, shelf), fill=(245, 245, 242))
            draw.rectangle((x + 4 * unit, 8 * unit, x + wide - 4 * unit, shelf - 5 * unit), fill=hsv(0.55, 0.3, 0.95))
        elif kind < 0.9:
            draw.rectangle((x, 0, x + wide, shelf), fill=door, outline=line)
            draw.rectangle((x + wide * 0.4, shelf - 9 * unit, x + wide * 0.6, shelf - 7 * unit), fill=knob)
        if kind > 0.2:
            for _ in range(int(rng.integers(0, 4))):
                left, tall = x + rng.uniform(0, 0.8) * wide, rng.uniform(7, 24) * unit
                jar = (left, bench - tall, left + rng.uniform(5, 11) * unit, bench)
                draw.rectangle(jar, fill=hsv(rng.random(), 0.5, 0.7))
        x += wide
    draw.rectangle((0, bench - 3 * unit, width, bench + 2 * unit), fill=hsv(hue + 0.1, 0.1, rng.uniform(0.25, 0.9)))
    light, dark = hsv(hue, 0.08, 0.88), hsv(hue + rng.uniform(0, 0.5), 0.25, rng.uniform(0.35, 0.75))
    rows = np.arange(height - edge)[:, None]
    depth = 1.0 / (0.35 + rows / max(height - edge, 1))  # farther rows are smaller
    columns = (np.arange(width)[None] - width / 2) * depth / (30 * unit)
    chequered = (np.floor(columns) + np.floor(depth * 3.5)) % 2 == 0
    floor = np.where(chequered[..., None], np.array(light), np.array(dark)).astype(np.uint8)
    image.paste(Image.fromarray(floor), (0, edge))
    return image


def court(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A sports hall: seats with people, boards, a floor in strong colours with white lines."""
    width, height = size
    unit = height / 240
    edge = int(height * rng.uniform(0.48, 0.64))
    hue = rng.random()
    image = gradient(size, hsv(hue, 0.3, rng.uniform(0.12, 0.5)), hsv(hue, 0.2, 0.6))
    draw = ImageDraw.Draw(image)
    full, seat = rng.uniform(0.2, 0.95), rng.uniform(8, 13) * unit
    for row, y in enumerate(np.arange(height * rng.uniform(0.1, 0.3), edge - 20 * unit, seat)):
        draw.rectangle((0, y + seat * 0.6, width, y + seat), fill=hsv(hue + 0.5, 0.4, 0.45))
        for x in np.arange(row % 2 * seat / 2, width, seat):
            if rng.random() < full:
                shirt, face = hsv(rng.random(), 0.5, rng.uniform(0.3, 0.8)), hsv(0.07, 0.4, 0.75)
                draw.ellipse((x, y, x + seat * 0.8, y + seat * 1.2), fill=shirt)
                draw.ellipse((x + seat * 0.2, y - seat * 0.4, x + seat * 0.6, y + seat * 0.1), fill=face)
    x = -rng.uniform(0, 60) * unit
    while x < width:
        wide = rng.uniform(40, 110) * unit
        draw.rectangle((x, edge - 20 * unit, x + wide, edge), fill=hsv(rng.random(), rng.uniform(0.1, 0.8), 0.8))
        for word in np.arange(x + 8 * unit, x + wide - 12 * unit, 9 * unit):
            draw.rectangle((word, edge - 14 * unit, word + 6 * unit, edge - 6 * unit), fill=(250, 250, 250))
        x += wide
    tone = rng.choice([0.0, 0.06, 0.09, 0.33, 0.45, 0.6, 0.7])
    floor = gradient((width, height - edge), hsv(tone, 0.6, 0.55), hsv(tone, 0.5, 0.8))
    lines = ImageDraw.Draw(floor)
    deep = floor.height
    for y in rng.uniform(0.05, 0.95, 2) * deep:
        lines.line((0, y, width, y), fill=(245, 245, 240), width=max(round(3 * unit), 1))
    for x in rng.uniform(0, width, 3):
        lines.line((x, 0, width / 2 + (x - width / 2) * 1.7, deep), fill=(245, 245, 240), width=max(round(3 * unit), 1))
    x, half = rng.uniform(0.2, 0.8) * width, rng.uniform(50, 110) * unit
    lines.ellipse((x - half, deep * 0.3, x + half, deep * 0.8), outline=hsv(tone + 0.4, 0.5, 0.9), width=2)
    image.paste(floor, (0, edge))
    return image


def night(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Towers with lit windows, lamps, and a road that mirrors them."""
    width, height = size
    unit = height / 240
    edge = int(height * rng.uniform(0.62, 0.74))
    hue = rng.uniform(0.55, 0.85)
    image = gradient(size, hsv(hue, 0.7, 0.12), hsv(hue, 0.6, rng.uniform(0.2, 0.42)))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        draw.point((rng.uniform(0, width), rng.uniform(0, edge)), fill=(200, 205, 225))
    for layer in range(2):
        x = -rng.uniform(0, 30) * unit
        while x < width:
            wide, tall = rng.uniform(22, 58) * unit, rng.uniform(0.2, 0.75 - 0.2 * layer) * height
            draw.rectangle((x, edge - tall, x + wide, edge), fill=hsv(hue, 0.4, 0.2 - 0.06 * layer))
            shine, often, pitch = rng.choice([0.1, 0.13, 0.5, 0.9]), rng.uniform(0.1, 0.6), rng.uniform(6, 10) * unit
            for left in np.arange(x + 3 * unit, x + wide - 4 * unit, pitch):
                for top in np.arange(edge - tall + 4 * unit, edge - 8 * unit, pitch):
                    if rng.random() < often:
                        color = hsv(shine, 0.45, rng.uniform(0.5, 1))
                        draw.rectangle((left, top, left + 3 * unit, top + 4 * unit), fill=color)
            x += wide
    mirror = image.crop((0, 2 * edge - height, width, edge)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    road = Image.blend(mirror, Image.new("RGB", mirror.size, hsv(hue, 0.2, 0.28)), rng.uniform(0.5, 0.85))
    image.paste(road.filter(ImageFilter.BoxBlur(4 * unit)), (0, edge))
    glow = Image.new("RGB", size)
    lamps = ImageDraw.Draw(glow)
    for x in np.arange(rng.uniform(0, 80) * unit, width, rng.uniform(70, 140) * unit):
        y, r = height * rng.uniform(0.25, 0.4), rng.uniform(7, 13) * unit
        lamps.ellipse((x - r, y - r, x + r, y + r), fill=(255, 205, 120))
        lamps.ellipse((x - 4 * r, edge + 2 * r, x + 4 * r, edge + 4 * r), fill=(120, 90, 50))
        draw.rectangle((x - unit, y, x + unit, edge + 6 * unit), fill=(24, 24, 30))
    return ImageChops.add(image, glow.filter(ImageFilter.GaussianBlur(7 * unit)))


def blur(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Something far out of focus: soft patches of colour, with a floor or none."""
    width, height = size
    hue, value = rng.random(), rng.uniform(0.2, 0.85)
    image = gradient(size, hsv(hue, rng.uniform(0, 0.6), value), hsv(hue + rng.uniform(-0.2, 0.2), 0.4, value))
    draw = ImageDraw.Draw(image)
    spread = rng.uniform(0.05, 0.5)
    for _ in range(int(rng.integers(12, 60))):
        x, y, half, up = rng.uniform(0, width), rng.uniform(0, height), *rng.uniform(0.03, 0.25, 2) * height
        bright = float(np.clip(value + rng.normal(0, 0.2), 0.05, 1))
        color = hsv(hue + rng.normal(0, spread), rng.uniform(0.1, 0.8), bright)
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((x - half, y - up, x + half, y + up), fill=color)
    if rng.random() < 0.6:
        edge = int(height * rng.uniform(0.55, 0.8))
        tone = rng.random()
        image.paste(gradient((width, height - edge), hsv(tone, 0.3, value * 0.7), hsv(tone, 0.3, value)), (0, edge))
    return image.filter(ImageFilter.GaussianBlur(height * rng.uniform(0.02, 0.07)))


def wood(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Trunks in a haze and a floor of leaves, in any season."""
    width, height = size
    unit = height / 240
    edge = int(height * rng.uniform(0.56, 0.72))
    leaf, haze = rng.choice([0.06, 0.1, 0.16, 0.27, 0.33]), rng.uniform(0.6, 0.95)
    image = gradient(size, hsv(leaf, 0.35, haze * 0.8), hsv(leaf, 0.12, haze))
    for layer in range(3):
        draw = ImageDraw.Draw(image)
        value = haze * (0.62 - 0.2 * layer)
        for _ in range(int(width / unit / (34 + 26 * layer))):
            x, half, slope = rng.uniform(0, width), rng.uniform(1, 2.5) * (1 + layer) * unit, rng.normal(0, 6) * unit
            foot = edge + (layer * 5 + rng.uniform(-3, 6)) * unit
            trunk = ((x - half, foot), (x - half * 0.6 + slope, 0), (x + half * 0.6 + slope, 0), (x + half, foot))
            draw.polygon(trunk, fill=hsv(0.07, 0.35, value * rng.uniform(0.8, 1.1)))
        for _ in range(int(width / unit / 3)):
            x, y, r = rng.uniform(0, width), rng.uniform(-0.05, 0.3) * height, rng.uniform(2, 10) * unit
            draw.ellipse((x - r, y - r, x + r, y + r), fill=hsv(leaf + rng.normal(0, 0.02), 0.55, 0.25 + value * 0.7))
        image = image.filter(ImageFilter.GaussianBlur((2 - layer) * 0.8 * unit))
    image.paste(gradient((width, height - edge), hsv(leaf, 0.4, 0.35), hsv(leaf, 0.45, 0.55)), (0, edge))
    draw = ImageDraw.Draw(image)
    for _ in range(int(1.2 * width / unit)):
        x, y = rng.uniform(0, width), rng.uniform(edge, height)
        r = (0.8 + 2 * (y - edge) / height) * unit
        color = hsv(leaf + rng.normal(0, 0.03), 0.5, rng.uniform(0.25, 0.75))
        draw.ellipse((x - 2 * r, y - r, x + 2 * r, y + r), fill=color)
    return image


def desert(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A low sun, table mountains, cacti, dunes of any warm colour."""
    width, height = size
    unit = height / 240
    hue = rng.uniform(0.02, 0.13)
    sky = rng.choice([0.07, 0.02, 0.55, 0.8])
    image = gradient(size, hsv(sky, rng.uniform(0.3, 0.7), rng.uniform(0.6, 0.95)), hsv(hue, 0.3, 1.0))
    draw = ImageDraw.Draw(image)
    horizon = height * rng.uniform(0.48, 0.64)
    x, y, r = rng.uniform(0, width), rng.uniform(0.15, 0.45) * height, rng.uniform(9, 24) * unit
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 244, 214))
    for _ in range(int(rng.integers(0, 5))):
        x, half, tall = rng.uniform(0, width), rng.uniform(16, 60) * unit, rng.uniform(18, 70) * unit
        top, foot = horizon - tall, 1.3 * half
        mesa = ((x - foot, horizon), (x - half, top), (x + half, top), (x + foot, horizon))
        draw.polygon(mesa, fill=hsv(hue - 0.03, 0.5, rng.uniform(0.4, 0.65)))
    for layer in range(4):
        level = horizon + (height - horizon) * layer * 0.2
        crest = _ridge(rng, width, level, (1 + layer) * 0.5 * unit, 12 * unit)
        draw.polygon([*crest, (width, height), (0, height)], fill=hsv(hue, 0.5 - 0.04 * layer, 0.68 + 0.06 * layer))
        for _ in range(int(rng.integers(0, 4)) if layer < 2 else 0):
            x, tall = rng.uniform(0, width), rng.uniform(14, 40) * unit
            green, thick = hsv(0.33, 0.4, rng.uniform(0.3, 0.5)), max(round(tall * 0.14), 2)
            arm, branch = x + rng.choice([-1, 1]) * tall * 0.25, level - tall * 0.4
            draw.line((x, level + 4 * unit, x, level - tall), fill=green, width=thick)
            draw.line((x, branch, arm, branch, arm, level - tall * 0.75), fill=green, width=thick)
    return image


def parlour(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Papered walls with pictures, a sofa, a lamp, a rug on boards."""
    width, height = size
    unit = height / 240
    edge = int(height * rng.uniform(0.66, 0.76))
    hue, strong, light = rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.92)
    image = gradient(size, hsv(hue, strong, light), hsv(hue, strong, light * 0.88))
    draw = ImageDraw.Draw(image)
    motif, step = rng.integers(3), rng.uniform(10, 26) * unit
    second = hsv(hue + 0.04, strong * 0.7, min(light * 1.1, 1))
    for x in np.arange(0, width, step):
        if motif == 0:
            draw.rectangle((x, 0, x + step * 0.45, edge), fill=second)
        for row, y in enumerate(np.arange(0, edge, step) if motif == 1 else ()):
            left = x + row % 2 * step / 2
            draw.ellipse((left, y, left + step * 0.35, y + step * 0.35), fill=second)
    for x in np.arange(rng.uniform(0, 40) * unit, width, rng.uniform(60, 130) * unit):
        y, wide, tall = rng.uniform(0.08, 0.25) * height, *rng.uniform(22, 56, 2) * unit
        draw.rectangle((x - 2 * unit, y - 2 * unit, x + wide + 2 * unit, y + tall + 2 * unit), fill=hsv(0.1, 0.5, 0.4))
        scene = gradient((round(wide), round(tall)), hsv(rng.random(), 0.4, 0.9), hsv(rng.random(), 0.5, 0.5))
        image.paste(scene, (round(x), round(y)))
    x = rng.uniform(-80, 60) * unit
    while x < width:
        wide, tall = rng.uniform(70, 150) * unit, rng.uniform(40, 64) * unit
        color = rng.uniform((0, 0.2, 0.3), (1, 0.7, 0.8))
        main, dark = hsv(*color), hsv(color[0], color[1], color[2] * 0.8)
        box = (x, edge - tall, x + wide, edge + 5 * unit)
        if rng.random() < 0.6:
            draw.rounded_rectangle(box, 8 * unit, fill=main)
            seat = (x - 6 * unit, edge - tall * 0.6, x + wide + 6 * unit, edge + 6 * unit)
            draw.rounded_rectangle(seat, 7 * unit, fill=dark)
        else:
            draw.rectangle(box, fill=hsv(0.08, 0.5, color[2]))
            for shelf in np.arange(edge - tall + 5 * unit, edge - 12 * unit, 17 * unit):
                for left in np.arange(x + 4 * unit, x + wide - 8 * unit, 5 * unit):
                    book = (left, shelf + rng.uniform(0, 5) * unit, left + 4 * unit, shelf + 14 * unit)
                    draw.rectangle(book, fill=hsv(rng.random(), 0.5, rng.uniform(0.3, 0.8)))
        lamp = x + wide + 22 * unit
        draw.rectangle((lamp - unit, edge - 88 * unit, lamp + unit, edge), fill=(70, 60, 56))
        shade = ((-9, -108), (9, -108), (16, -84), (-16, -84))
        draw.polygon([(lamp + dx * unit, edge + dy * unit) for dx, dy in shade], fill=(250, 230, 180))
        x = lamp + rng.uniform(20, 100) * unit
    boards = rng.uniform(0.3, 0.7)
    image.paste(gradient((width, height - edge), hsv(0.07, 0.5, boards), hsv(0.07, 0.45, boards + 0.15)), (0, edge))
    draw.rectangle((0, edge - 4 * unit, width, edge), fill=hsv(hue, 0.06, 0.93))
    x, half = rng.uniform(0.3, 0.7) * width, rng.uniform(90, 200) * unit
    for inset, turn in ((0.0, 0.0), (0.12, 0.1), (0.24, 0.5)):
        along, up, down = half * (1 - inset), height * (0.8 + inset * 0.12), height * (0.98 - inset * 0.12)
        draw.ellipse((x - along, up, x + along, down), fill=hsv(hue + 0.4 + turn, 0.45, 0.65))
    return image
