"""What is remembered of a camera."""

from __future__ import annotations

import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmdb.clips.clip import ClipSpec
from hmdb.errors import VideoError
from hmdb.page.tabs.live import CLIP_SECONDS, MAX_REACH_SECONDS, MIN_REACH_PICTURES, LiveSession, decode_jpeg
from hmdb.recognizer import Recognizer


def watched(moments: list[float], size: tuple[int, int] = (24, 32)) -> LiveSession:
    """A camera whose pictures are as bright as their number."""
    watch = LiveSession()
    for number, moment in enumerate(moments):
        watch.see(np.full((*size, 3), number, np.uint8), moment)
    return watch


def brightness(watch: LiveSession) -> list[int]:
    return [int(pixels[0, 0, 0]) for pixels in watch.clip(ClipSpec(num_frames=8)).pixels]


def test_the_clip_is_the_last_seconds_with_the_newest_picture() -> None:
    watch = watched([number / 5 for number in range(100)])
    assert watch.pictures[-1][0] - watch.pictures[0][0] == pytest.approx(CLIP_SECONDS, abs=0.21)
    shown = brightness(watch)
    assert shown[-1] == 99
    assert shown == sorted(shown)
    assert shown[0] <= 89


def test_where_pictures_come_slowly_the_clip_reaches_further_back() -> None:
    watch = watched([2.0 * number for number in range(20)])
    assert len(watch.pictures) == MIN_REACH_PICTURES
    assert sorted(set(brightness(watch))) == [16, 17, 18, 19]


def test_what_is_long_past_is_forgotten() -> None:
    watch = watched([0, 0.2, 0.4, 0.5 + MAX_REACH_SECONDS])
    assert brightness(watch) == [3] * 8
    assert not watch.moves


def test_a_camera_that_turns_begins_anew() -> None:
    watch = watched([0, 0.2])
    watch.see(np.zeros((32, 24, 3), np.uint8), 0.4)
    assert len(watch.pictures) == 1


def test_the_headline_does_not_flicker(recognizer: Recognizer, video: Path) -> None:
    prediction = recognizer.predict(recognizer.read(video), top_k=2)
    watch = LiveSession()
    for moment in range(20):
        watch.hear(dataclasses.replace(prediction, labels=("wave", "golf"), probabilities=(0.9, 0.1)), moment / 5)
    assert watch.label == "wave"
    watch.hear(dataclasses.replace(prediction, labels=("golf", "wave"), probabilities=(0.9, 0.1)), 4.0)
    assert watch.label == "wave"  # one answer among many
    for moment in range(21, 30):
        watch.hear(dataclasses.replace(prediction, labels=("golf", "wave"), probabilities=(0.9, 0.1)), moment / 5)
    assert watch.label == "golf"
    assert sum(watch.shares.values()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("side", [2000, 20_000])
def test_a_picture_that_says_it_is_too_large_is_told_so(side: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    large = file.getvalue().replace(b"\x08\x00\x08\x00\x08", b"\x08" + 2 * side.to_bytes(2))  # bits, height, width
    with pytest.raises(VideoError, match="pictures from this camera are too large"):
        decode_jpeg("data:image/jpeg;base64," + base64.b64encode(large).decode())
