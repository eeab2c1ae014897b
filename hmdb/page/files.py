"""The files that answers are made of: written for one visitor, deleted when their time is over."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

FRAME_SIDE = 480  # pixels, the longest side of a frame in a gallery
FRAME_QUALITY = 88  # of its JPEG


def served(path: Path) -> str:
    """A copy of a file where Gradio serves from and cleans up."""
    return str(save_file_to_cache(path, cache_dir=get_upload_folder()))


Gallery = list[tuple[str, str]]  # files and captions


def pictures(pixels: Iterable[np.ndarray], captions: Iterable[str]) -> Gallery:
    """Pictures, small enough to send, in files of this answer alone.

    Left to Gradio, the same picture of two visitors would be one file, written again while it is read, and
    WebP, which takes longer to write than the network to answer.
    """
    folder = picture_folder()
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for frame, words in zip(pixels, captions, strict=True):
        image = Image.fromarray(frame)
        image.thumbnail((FRAME_SIDE, FRAME_SIDE))
        path = folder / f"{uuid.uuid4().hex}.jpg"
        image.save(path, quality=FRAME_QUALITY)
        found.append((str(path), words))
    return found


def picture_folder() -> Path:
    return Path(get_upload_folder()) / "pictures"


def delete_old_pictures(keep_seconds: float) -> None:
    """Gradio does so with what an answer has brought to a visitor, but does not know of one that was cancelled."""
    for path in picture_folder().glob("*.jpg"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > keep_seconds:
                path.unlink()


def keep_clean(keep_seconds: int) -> None:
    while True:
        time.sleep(keep_seconds / 4)
        delete_old_pictures(keep_seconds)
