"""The paper's samplers, case by case and against a brute-force version on pixels."""

import random
from itertools import pairwise

import numpy as np
import pytest

from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import render
from hmdb.clips.sampling import Source, evenly_spaced, extend, sample
from hmdb.errors import VideoError

PAPER = ClipSpec()
AFTER = ClipSpec(extension="after")
EQUIDISTANT = ClipSpec(sampler="equidistant")
RANDOM = ClipSpec(sampler="random")
VIVIT = ClipSpec(num_frames=32, stride=2, sampler="centered")


def sources(num_frames: int, spec: ClipSpec) -> list[tuple[int, ...]]:
    return [frame.sources for frame in sample(num_frames, spec)]


def kinds(num_frames: int, spec: ClipSpec) -> list[str]:
    return [frame.kind for frame in sample(num_frames, spec)]


def singles(*indices: int) -> list[tuple[int, ...]]:
    return [(index,) for index in indices]


@pytest.mark.parametrize("spec", [PAPER, AFTER, EQUIDISTANT, RANDOM, VIVIT])
def test_a_video_without_frames_is_refused(spec: ClipSpec) -> None:
    with pytest.raises(VideoError, match="no frames"):
        sample(0, spec)


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (57, singles(0, 16, 32, 48, 48, 32, 16, 0)),
        (90, singles(0, 16, 32, 48, 64, 80, 82, 66)),
        (225, singles(0, 16, 32, 48, 64, 80, 96, 112)),
        (255, singles(0, 16, 32, 48, 64, 80, 96, 112)),
        (256, singles(0, 32, 64, 96, 128, 160, 192, 224)),
        (1000, singles(0, 32, 64, 96, 128, 160, 192, 224)),
        (12, [(0,), (8,), (6,), (1, 2), (9, 10), (4, 5), (3,), (11,)]),
        (8, [(0,), (6,), (1, 2), (4, 5), (3,), (3,), (4, 5), (1, 2)]),
        (7, [(0,), (4,), (3, 4), (0, 1), (5,), (2, 3), (1, 2), (6,)]),
        (2, [(0,), (0, 1), (0, 1), (0,), (0, 1), (0, 1), (0, 1), (0,)]),
        (1, singles(0, 0, 0, 0, 0, 0, 0, 0)),
    ],
)
def test_uniform(num_frames: int, expected: list[tuple[int, ...]]) -> None:
    assert sources(num_frames, PAPER) == expected


def test_twelve_frames_give_every_kind() -> None:
    shown = kinds(12, PAPER)
    assert shown[:3] == ["real", "real", "reversed"]
    assert shown[3] == "interpolated + brightened"
    assert shown[5] == "interpolated + reversed + brightened"
    assert shown[6] == "brightened"


@pytest.mark.parametrize("num_frames", [57, 90, 200, 255])
def test_57_frames_need_no_synthetic_ones(num_frames: int) -> None:
    assert set(kinds(num_frames, PAPER)) <= {"real", "reversed"}


def test_56_frames_need_synthetic_ones() -> None:
    assert not set(kinds(56, PAPER)) <= {"real", "reversed"}


def brute_force(pixels: np.ndarray, wanted: int) -> list[np.ndarray]:
    """Extends pixels like the text of the paper, rounding once at the end."""
    frames = [frame.astype(np.float64) for frame in pixels]
    if len(frames) >= wanted:
        return frames
    for _ in range(5):
        between = [(a + b) / 2 for a, b in pairwise(frames)]
        frames = [frame for pair in zip(frames, [*between, None], strict=True) for frame in pair if frame is not None]
        if len(frames) < wanted:
            frames = frames + frames[::-1][1:]
        if len(frames) < wanted:
            frames = frames + [np.clip(frame * gain, 0, 255) for gain in (0.6, 0.8, 1.2, 1.4) for frame in frames]
        if len(frames) >= wanted:
            return frames[:wanted]
    raise AssertionError("five rounds were not enough")


@pytest.mark.parametrize("num_frames", [1, 2, 3, 7, 8, 12, 29, 56, 90, 255, 256, 300])
def test_virtual_frames_equal_extended_pixels(num_frames: int) -> None:
    pixels = np.random.default_rng(num_frames).integers(0, 256, (num_frames, 4, 5, 3), np.uint8)
    expected = brute_force(pixels, 256)[::32][:8]
    shown = [render(frame, dict(enumerate(pixels))) for frame in sample(num_frames, PAPER)]
    assert len(shown) == 8
    for got, want in zip(shown, expected, strict=True):
        assert got.dtype == np.uint8
        assert np.abs(got - want).max() <= 0.5 + 1e-3


def test_length_and_start_of_extensions() -> None:
    for num_frames in range(1, 300):
        frames = extend([Source(index) for index in range(num_frames)], 256)
        assert len(frames) == max(256, num_frames)
        assert frames[0] == Source(0)


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (1, singles(0, 0, 0, 0, 0, 0, 0, 0)),
        (33, [(0,), (0, 32), (32,), (32,), (0, 32), (0,), (0,), (0, 32)]),
        (90, [(0,), (0, 32), (32,), (32, 64), (64,), (64,), (32, 64), (32,)]),
        (256, singles(0, 32, 64, 96, 128, 160, 192, 224)),
        (1000, singles(0, 32, 64, 96, 128, 160, 192, 224)),
    ],
)
def test_after_sampling(num_frames: int, expected: list[tuple[int, ...]]) -> None:
    assert sources(num_frames, AFTER) == expected


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (1, [0] * 8),
        (2, [0, 1, 0, 1, 0, 1, 0, 1]),
        (7, [0, 1, 2, 3, 4, 5, 6, 0]),
        (8, list(range(8))),
        (12, [0, 1, 3, 4, 6, 7, 9, 10]),
        (90, [0, 11, 22, 33, 45, 56, 67, 78]),
        (1000, [0, 125, 250, 375, 500, 625, 750, 875]),
    ],
)
def test_equidistant(num_frames: int, expected: list[int]) -> None:
    assert sources(num_frames, EQUIDISTANT) == singles(*expected)
    assert set(kinds(num_frames, EQUIDISTANT)) == {"real"}


def test_random_draws_without_replacement_in_drawn_order() -> None:
    drawn = [index for (index,) in sources(90, RANDOM)]
    assert len(set(drawn)) == 8
    assert drawn != sorted(drawn)


def test_random_repeats_frames_of_short_videos_only() -> None:
    assert {index for (index,) in sources(8, RANDOM)} == set(range(8))
    assert {index for (index,) in sources(7, RANDOM)} <= set(range(7))


def test_random_is_seeded() -> None:
    assert sources(90, RANDOM) == sources(90, RANDOM)
    first, second = (sample(90, RANDOM, random.Random(seed)) for seed in (1, 2))
    assert first != second
    assert first == sample(90, RANDOM, random.Random(1))


def test_centered() -> None:
    assert sources(100, VIVIT) == singles(*range(18, 82, 2))
    assert sources(64, VIVIT) == singles(*range(0, 64, 2))
    assert sources(63, VIVIT) == singles(*evenly_spaced(63, 32))
    assert sources(1, VIVIT) == singles(*[0] * 32)
