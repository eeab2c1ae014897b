"""Frames as files for the client."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hmdb.page.views.gallery import gallery
from hmdb.recognizer import Recognizer


def test_each_answer_writes_its_own_files(recognizer: Recognizer, video: Path) -> None:
    clip = recognizer.read(video)
    one, other = gallery(clip), gallery(clip)
    assert not {path for path, _ in one} & {path for path, _ in other}
    for (path, _), frame in zip(one, clip.pixels, strict=True):
        assert np.abs(np.asarray(Image.open(path)).astype(int) - frame).mean() < 3  # grey levels
