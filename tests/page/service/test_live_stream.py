"""The memory of a live camera."""

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
from hmdb.page.service.live_stream import CLIP_SECONDS, MAX_CLIP_SECONDS, MIN_CLIP_PICTURES, LiveSession, decode_jpeg
from hmdb.recognizer import Recognizer


def session_of(moments: list[float], size: tuple[int, int] = (24, 32)) -> LiveSession:
    """A session whose pictures are as bright as their number."""
    session = LiveSession()
    for number, moment in enumerate(moments):
        session.add_frame(np.full((*size, 3), number, np.uint8), moment)
    return session


def brightness(session: LiveSession) -> list[int]:
    return [int(pixels[0, 0, 0]) for pixels in session.clip(ClipSpec(num_frames=8)).pixels]


def test_the_clip_ends_with_the_newest_picture() -> None:
    session = session_of([number / 5 for number in range(100)])
    assert session.pictures[-1][0] - session.pictures[0][0] == pytest.approx(CLIP_SECONDS, abs=0.21)
    shown = brightness(session)
    assert shown[-1] == 99
    assert shown == sorted(shown)
    assert shown[0] <= 89


def test_a_slow_camera_has_a_longer_clip() -> None:
    session = session_of([2.0 * number for number in range(20)])
    assert len(session.pictures) == MIN_CLIP_PICTURES
    assert sorted(set(brightness(session))) == [16, 17, 18, 19]


def test_old_pictures_are_dropped() -> None:
    session = session_of([0, 0.2, 0.4, 0.5 + MAX_CLIP_SECONDS])
    assert brightness(session) == [3] * 8
    assert not session.moves


def test_a_turned_camera_starts_over() -> None:
    session = session_of([0, 0.2])
    session.add_frame(np.zeros((32, 24, 3), np.uint8), 0.4)
    assert len(session.pictures) == 1


def test_the_headline_does_not_flicker(recognizer: Recognizer, video: Path) -> None:
    prediction = recognizer.predict(recognizer.read(video), top_k=2)
    session = LiveSession()
    for moment in range(20):
        session.add_prediction(
            dataclasses.replace(prediction, labels=("wave", "golf"), probabilities=(0.9, 0.1)), moment / 5
        )
    assert session.label == "wave"
    session.add_prediction(dataclasses.replace(prediction, labels=("golf", "wave"), probabilities=(0.9, 0.1)), 4.0)
    assert session.label == "wave"  # one answer among many
    for moment in range(21, 30):
        session.add_prediction(
            dataclasses.replace(prediction, labels=("golf", "wave"), probabilities=(0.9, 0.1)), moment / 5
        )
    assert session.label == "golf"
    assert sum(session.smoothed.values()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("side", [2000, 20_000])
def test_a_picture_with_a_huge_declared_size_is_refused(side: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    large = file.getvalue().replace(b"\x08\x00\x08\x00\x08", b"\x08" + 2 * side.to_bytes(2))  # bits, height, width
    with pytest.raises(VideoError, match="pictures from this camera are too large"):
        decode_jpeg("data:image/jpeg;base64," + base64.b64encode(large).decode())
