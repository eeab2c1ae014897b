"""Colours and gradients that the scenes share."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image

from drawings.figure import Color


def hsv(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def gradient(size: tuple[int, int], top: Color, bottom: Color) -> Image.Image:
    width, height = size
    part = np.linspace(0, 1, height)[:, None, None]
    rows = np.array(top) * (1 - part) + np.array(bottom) * part
    return Image.fromarray(np.broadcast_to(rows, (height, width, 3)).round().astype(np.uint8))
