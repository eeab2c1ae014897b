"""Finds the videos at a path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hmdb.video import VIDEO_SUFFIXES, is_frame_folder


def find_videos(path: Path) -> list[Path]:
    """Finds videos: a file, a folder of frames, or all of these inside a folder.

    A path without any is returned as it is; reading it reports the error.
    """
    return (list(_walk(path)) if os.path.isdir(path) else []) or [path]


def _walk(folder: Path) -> Iterator[Path]:
    """Yields the videos of a folder. It skips hidden entries and links to folders, which may form cycles. Images in a
    folder that holds videos are not frames.
    """
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
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
