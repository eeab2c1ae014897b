import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmdb.clips.clip import Clip, ClipFrame, ClipSpec, pixels_move
from hmdb.errors import ModelError
from hmdb.results import Prediction
from hmdb.video import open_video
from tests.support.clips import encode
from tests.support.paths import ROOT


def test_a_spec_round_trips_through_json() -> None:
    spec = ClipSpec(num_frames=32, stride=2, sampler="centered", extension="after")
    assert ClipSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frames": 0}, "num_frames .* not 0"),
        ({"num_frames": 10**9}, "num_frames"),
        ({"stride": "32"}, "stride .* not '32'"),
        ({"sampler": "fast"}, "uniform, equidistant, random, centered, not 'fast'"),
        ({"extension": "never"}, "before, after"),
        ({"speed": 1}, "does not know: speed"),
        ({"stride": True}, "stride .* not True"),
        ([], r"must be an object with settings, not \[\]"),
        (None, "must be an object with settings, not None"),
    ],
)
def test_invalid_specs_are_refused(change: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ClipSpec.from_dict(change)


def test_a_clip_checks_its_shape() -> None:
    frame = ClipFrame(sources=(0,), seconds=0.0, kind="real")
    with pytest.raises(ValueError, match=r"uint8 \(1, H, W, 3\), got uint8 \(2, 4, 4, 3\)"):
        Clip(pixels=np.zeros((2, 4, 4, 3), np.uint8), frames=(frame,), spec=ClipSpec())
    with pytest.raises(ValueError, match="got float32"):
        Clip(pixels=np.zeros((1, 4, 4, 3), np.float32), frames=(frame,), spec=ClipSpec())


def test_a_prediction_as_json() -> None:
    frame = ClipFrame(sources=(3, 4), seconds=0.5, kind="interpolated")
    clip = Clip(pixels=np.zeros((1, 4, 4, 3), np.uint8), frames=(frame,), spec=ClipSpec(num_frames=1))
    prediction = Prediction(labels=("golf", "wave"), probabilities=(0.7, 0.2), clip=clip, model="me/it", revision="abc")
    answer = json.loads(json.dumps(prediction.to_dict()))
    assert answer["label"] == "golf"
    assert answer["top"][1] == {"label": "wave", "probability": 0.2}
    assert answer["frames"] == [{"sources": [3, 4], "seconds": 0.5, "kind": "interpolated"}]
    assert answer["clip_spec"]["num_frames"] == 1


def moves(pixels: np.ndarray, kinds: Sequence[str], sources: Sequence[int]) -> bool:
    frames = tuple(
        ClipFrame(sources=(source,), seconds=None, kind=kind) for source, kind in zip(sources, kinds, strict=True)
    )
    return Clip(pixels=pixels, frames=frames, spec=ClipSpec(num_frames=len(frames))).moves


def test_motion_is_detected_above_noise() -> None:
    rng = np.random.default_rng(0)
    green = np.full((4, 64, 80, 3), (0, 128, 0), np.uint8)
    noisy = (green + rng.normal(0, 4, green.shape)).clip(0, 255).astype(np.uint8)
    moving = green.copy()
    for index in range(4):
        moving[index, 10:20, 10 * index : 10 * index + 10] = 255
    real = ["real"] * 4
    assert not moves(green, real, range(4))
    assert not moves(noisy, real, range(4))
    assert moves(moving, real, range(4))
    assert not moves(moving, ["real", *["brightened"] * 3], [0] * 4)


@pytest.mark.parametrize("size", [(16, 16), (3, 40), (99, 161), (500, 70), (720, 1280)])
def test_motion_is_measured_by_block_means(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 250, (1, *size, 3), dtype=np.uint8).repeat(3, axis=0)
    block = max(16, min(size) // 32)
    pixels[1, :block, :block] += 2
    assert not moves(pixels, ["real"] * 3, range(3))
    pixels[2, : min(size[0], block), : min(size[1], block)] += 4
    assert moves(pixels, ["real"] * 3, range(3))


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A detailed picture, uint8 (240, 320, 3)."""
    pixels: np.ndarray = open_video(ROOT / "examples" / "wave.mp4").frames_at([0]).pixels[0][:240, :320]
    return pixels


def camera_noise(picture: np.ndarray, count: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 4, (count, *picture.shape))
    return (picture + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("crf", ["18", "23", "33"])
def test_a_photograph_is_still_however_it_is_encoded(photograph: np.ndarray, tmp_path: Path, crf: str) -> None:
    path = encode(tmp_path / "still.mp4", "libx264", camera_noise(photograph, 33), options={"crf": crf})
    assert not pixels_move(open_video(path).frames_at(range(0, 33, 4)).pixels)


def test_a_moving_mouth_is_motion(photograph: np.ndarray, tmp_path: Path) -> None:
    frames = camera_noise(photograph, 33)
    for index, frame in enumerate(frames):
        opened = index // 4 % 3 * 3
        frame[150 - opened : 156 + opened, 150:176] = (90, 30, 40)
    path = encode(tmp_path / "chew.mp4", "libx264", frames, options={"crf": "23"})
    assert pixels_move(open_video(path).frames_at(range(0, 33, 4)).pixels)


def test_brightening_is_no_motion() -> None:
    pixels = np.full((3, 40, 40, 3), 100, np.uint8)
    pixels[2] = 140
    assert not moves(pixels, ["real", "real", "brightened"], range(3))
