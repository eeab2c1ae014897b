"""Shapes, places and sums of what is drawn."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hmdb import ClipSpec, figures
from hmdb.results import Timeline, WindowAnswer

GREY = np.full((3, 40, 60, 3), 100, np.uint8)


def test_overlay_colours_what_is_relevant_and_nothing_else() -> None:
    heat = np.zeros((3, 4, 6), np.float32)
    heat[1, 0, 0] = 1
    drawn = figures.overlay(GREY, heat)
    assert drawn.shape == GREY.shape
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn[[0, 2]], GREY[[0, 2]])
    np.testing.assert_array_equal(drawn[1, 20:, 30:], GREY[1, 20:, 30:])
    assert (drawn[1, 3, 3] != 100).any()


def test_overlay_opacity_goes_from_the_frame_to_the_colour() -> None:
    heat = np.ones((3, 4, 6), np.float32)
    np.testing.assert_array_equal(figures.overlay(GREY, heat, opacity=0), GREY)
    full = figures.overlay(GREY, heat, opacity=1)
    assert (full == full[0, 0, 0]).all()
    assert full[0, 0, 0].max() > 200  # the bright end of the map


def test_overlay_keeps_to_the_region_that_the_model_sees() -> None:
    drawn = figures.overlay(GREY, np.ones((3, 4, 4), np.float32), region=(0, 1 / 6, 1, 5 / 6))
    np.testing.assert_array_equal(drawn[:, :, :10], GREY[:, :, :10])
    np.testing.assert_array_equal(drawn[:, :, 50:], GREY[:, :, 50:])
    assert (drawn[:, :, 10:50] != GREY[:, :, 10:50]).any(axis=-1).all()


def test_overlay_is_smooth() -> None:
    heat = np.zeros((1, 2, 2), np.float32)
    heat[0, :, 1] = 1
    drawn = figures.overlay(np.zeros((1, 64, 64, 3), np.uint8), heat)[0, 32, :, 0].astype(int)
    assert (np.abs(np.diff(drawn)) < 25).all()


def test_overlay_refuses_maps_of_another_clip() -> None:
    with pytest.raises(ValueError, match="each of the 3 frames, got 2"):
        figures.overlay(GREY, np.zeros((2, 4, 4)))


def test_sheet_shows_every_frame() -> None:
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 10, 20, 3), np.uint8)
    page = figures.sheet(frames, columns=3, gap=2)
    assert page.shape == (22, 64, 3)
    assert [page[5, 5, 0], page[5, 27, 0], page[5, 49, 0], page[17, 5, 0], page[17, 27, 0]] == [0, 1, 2, 3, 4]
    assert page[17, 49, 0] == 255


def test_a_timeline_can_be_drawn() -> None:
    answers = tuple(
        WindowAnswer(frames=range(start, start + 256), label=label, probability=0.8)
        for start, label in ((0, "golf"), (128, "golf"), (256, None), (384, "$\\oops$"))  # no formula
    )
    timeline = Timeline(
        answers=answers,
        num_windows=4,
        num_frames=640,
        fps=25.0,
        model="tiny",
        revision=None,
        spec=ClipSpec(),
        seconds=tuple(frame / 25 for frame in (0, 192, 320, 448, 640)),
    )
    png = io.BytesIO()
    figures.timeline_chart(timeline).savefig(png, format="png")
    with Image.open(png) as image:
        assert np.asarray(image.convert("L")).std() > 5


def test_importing_the_module_does_not_import_matplotlib() -> None:
    code = "import sys, hmdb.figures; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
