"""Backgrounds of the examples. The clips to train on have others, so that the examples test what was learned."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from drawings.painting import gradient, hsv


def studio(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A paper backdrop in one colour that runs out into the floor."""
    width, height = size
    hue = rng.random()
    image = gradient(size, hsv(hue, 0.25, 0.88), hsv(hue, 0.4, 0.62))
    floor = gradient((width, height // 3), hsv(hue, 0.35, 0.55), hsv(hue, 0.28, 0.8))
    blend = Image.fromarray((np.clip(np.linspace(0, 3, height // 3), 0, 1) * 255).astype(np.uint8)[:, None])
    image.paste(floor, (0, height - height // 3), blend.resize(floor.size))
    return image


def park(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Sky, clouds, hills, trees and a mown lawn."""
    width, height = size
    horizon = int(height * rng.uniform(0.5, 0.62))
    image = gradient(size, hsv(0.58, 0.55, 0.92), hsv(0.56, 0.12, 1.0))
    draw = ImageDraw.Draw(image)
    for _ in range(5):
        x, y = rng.uniform(0, width), rng.uniform(0.05, 0.3) * height
        for _ in range(5):
            half, up = rng.uniform(12, 34), rng.uniform(5, 11)
            dx, dy = rng.normal(0, 20), rng.normal(0, 4)
            draw.ellipse((x + dx - half, y + dy - up, x + dx + half, y + dy + up), fill=(250, 251, 253))
    image = image.filter(ImageFilter.GaussianBlur(3))
    draw = ImageDraw.Draw(image)
    across = np.arange(width + 1)
    for layer in range(2):
        wave = np.sin(across / rng.uniform(60, 110) + rng.uniform(0, 6)) * 10 + np.sin(across / 31 + layer) * 3
        top = horizon - 18 + layer * 12 + wave
        points = [(float(a), float(b)) for a, b in zip(across, top, strict=True)]
        draw.polygon([*points, (width, height), (0, height)], fill=hsv(0.36 - 0.04 * layer, 0.4, 0.55 + 0.08 * layer))
    for _ in range(int(width / 55)):
        _tree(draw, rng, rng.uniform(0, width), horizon + rng.uniform(0, 8), rng.uniform(22, 55))
    hue = rng.uniform(0.24, 0.31)
    lawn = gradient((width, height - horizon), hsv(hue, 0.55, 0.62), hsv(hue, 0.62, 0.78))
    stripes = ImageDraw.Draw(lawn, "RGBA")
    for row in range(0, lawn.height, 18):
        stripes.rectangle((0, row, width, row + 8 + row // 12), fill=(255, 255, 255, 14))
    for _ in range(1400):
        gx, gy = rng.uniform(0, width), rng.uniform(0, lawn.height)
        shade = (20, 60, 10, 60) if rng.random() < 0.6 else (220, 255, 150, 50)
        stripes.line((gx, gy, gx + rng.uniform(-1, 1), gy - 1 - gy / 30), fill=shade)
    image.paste(lawn, (0, horizon))
    return image


def _tree(draw: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, foot: float, tall: float) -> None:
    draw.rectangle((x - tall * 0.05, foot - tall * 0.5, x + tall * 0.05, foot), fill=(96, 72, 52))
    hue, value = rng.uniform(0.24, 0.36), rng.uniform(0.4, 0.55)
    for _ in range(12):
        dx, dy, r = rng.normal(0, tall * 0.17), rng.normal(0, tall * 0.14), tall * rng.uniform(0.1, 0.2)
        shade = hsv(hue, 0.5, value * (1.05 - dy / tall * 0.8 - dx / tall * 0.3))
        cx, cy = x + dx, foot - tall * 0.72 + dy
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=shade)


def gym(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A hall: a painted wall, windows or wall bars, planks on the floor."""
    width, height = size
    edge = int(height * rng.uniform(0.6, 0.68))
    hue = rng.choice([0.08, 0.55, 0.6, 0.12])
    image = gradient(size, hsv(hue, 0.12, 0.86), hsv(hue, 0.18, 0.74))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, int(edge * 0.72), width, edge), fill=hsv(hue + 0.5, 0.35, 0.6))
    draw.rectangle((0, int(edge * 0.71), width, int(edge * 0.73)), fill=(240, 240, 235))
    step = int(rng.uniform(88, 120))
    for left in range(int(rng.uniform(-30, 20)), width, step):
        if rng.random() < 0.6:
            draw.rectangle((left, height * 0.08, left + step * 0.62, edge * 0.55), fill=(246, 250, 252))
            draw.rectangle(
                (left + 2, height * 0.08 + 2, left + step * 0.62 - 2, edge * 0.55 - 2), fill=hsv(0.55, 0.2, 0.95)
            )
            middle = left + step * 0.31
            draw.line((middle, height * 0.08, middle, edge * 0.55), fill=(246, 250, 252), width=3)
        else:
            for row in range(int(height * 0.1), edge, 11):
                draw.line((left, row, left + step * 0.5, row), fill=(190, 140, 90), width=3)
            for post in (left, left + step * 0.5):
                draw.line((post, height * 0.08, post, edge), fill=(160, 112, 70), width=4)
    floor = gradient((width, height - edge), hsv(0.09, 0.5, 0.62), hsv(0.09, 0.45, 0.82))
    planks = ImageDraw.Draw(floor, "RGBA")
    center = width / 2
    for x in range(-width, 2 * width, 26):
        planks.line((center + (x - center) * 0.7, 0, center + (x - center) * 1.5, floor.height), fill=(90, 50, 20, 60))
    for row in np.cumsum([3, 5, 8, 12, 18, 26]):
        planks.line((0, int(row), width, int(row)), fill=(90, 50, 20, 40))
    image.paste(floor, (0, edge))
    ImageDraw.Draw(image).rectangle((0, edge - 3, width, edge + 1), fill=(120, 84, 56))
    return image


def street(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A row of houses, a pavement, a road."""
    width, height = size
    edge = int(height * 0.68)
    image = gradient(size, hsv(0.58, 0.35, 0.9), hsv(0.1, 0.12, 0.98))
    draw = ImageDraw.Draw(image)
    left = -int(rng.uniform(0, 40))
    while left < width:
        wide, tall = int(rng.uniform(60, 110)), int(rng.uniform(0.38, 0.62) * height)
        hue, value = rng.choice([0.02, 0.06, 0.1, 0.58, 0.95]), rng.uniform(0.55, 0.85)
        draw.rectangle((left, edge - tall, left + wide, edge), fill=hsv(hue, 0.28, value))
        draw.rectangle((left - 2, edge - tall - 5, left + wide + 2, edge - tall), fill=hsv(hue, 0.35, value * 0.7))
        for x in range(left + 9, left + wide - 14, 22):
            for y in range(edge - tall + 12, edge - 34, 28):
                lit = rng.random() < 0.2
                draw.rectangle((x - 1, y - 1, x + 12, y + 16), fill=(235, 232, 225))
                draw.rectangle((x, y, x + 11, y + 15), fill=(250, 226, 150) if lit else hsv(0.58, 0.3, 0.45))
        door = left + wide // 2 - 8
        draw.rectangle((door, edge - 28, door + 15, edge), fill=hsv(rng.random(), 0.5, 0.4))
        left += wide
    draw.rectangle((0, edge, width, int(height * 0.78)), fill=(178, 174, 168))
    for x in range(0, width, 30):
        draw.line((x, edge, x - 12, height * 0.78), fill=(160, 156, 150))
    draw.rectangle((0, int(height * 0.78), width, int(height * 0.795)), fill=(210, 206, 200))
    draw.rectangle((0, int(height * 0.795), width, height), fill=(92, 94, 100))
    for x in range(-20, width, 80):
        draw.rectangle((x, height * 0.935, x + 42, height * 0.95), fill=(225, 225, 215))
    return image


def beach(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Sky, sea and sand."""
    width, height = size
    sea, sand = int(height * rng.uniform(0.42, 0.5)), int(height * rng.uniform(0.6, 0.66))
    image = gradient(size, hsv(0.57, 0.5, 0.95), hsv(0.09, 0.2, 1.0))
    image.paste(gradient((width, sand - sea), hsv(0.53, 0.6, 0.6), hsv(0.49, 0.4, 0.85)), (0, sea))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        y = rng.uniform(sea + 2, sand)
        x, long = rng.uniform(0, width), rng.uniform(5, 30)
        draw.line((x, y, x + long, y), fill=(225, 242, 245))
    image.paste(gradient((width, height - sand), hsv(0.12, 0.3, 0.93), hsv(0.1, 0.38, 0.84)), (0, sand))
    draw = ImageDraw.Draw(image)
    shore = np.arange(0, width + 6, 6)
    foam = sand + np.sin(shore / 26 + rng.uniform(0, 6)) * 4
    draw.line([(float(a), float(b)) for a, b in zip(shore, foam, strict=True)], fill=(250, 252, 252), width=4)
    for _ in range(500):
        px, py = rng.uniform(0, width), rng.uniform(sand + 6, height)
        draw.point((px, py), fill=(180, 150, 105))
    return image
