"""The videos that a path names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hmdb.video import VIDEO_SUFFIXES, is_frame_folder


def find_videos(path: Path) -> list[Path]:
    """The videos that a path names: a file, a folder of frames, or all of these inside a folder.

    A path with nothing of the kind is returned as it is; what is wrong with it is said when it is read.
    """
    return (list(_walk(path)) if os.path.isdir(path) else []) or [path]


def _walk(folder: Path) -> Iterator[Path]:
    """Hidden things are left out; links to folders too, as they may lead in circles. Images beside videos are no
    frames.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        if is_frame_folder(folder) and not any(map(_is_video, entries)):
            yield folder
            return
    except OSError:
        yield folder
        return
    for entry in entries:
        child = folder / entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(child)
        elif _is_video(entry):
            yield child


def _is_video(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in VIDEO_SUFFIXES and not entry.name.startswith(".")
