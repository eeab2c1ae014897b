"""Finds the videos at a path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hmdb.text import display_name
from hmdb.video import VIDEO_SUFFIXES, is_frame_folder

MAX_NAMES = 3  # of files that were left out


def find_videos(path: Path, on_left_out: Callable[[Path], object] = lambda _: None) -> list[Path]:
    """Finds videos: a file, a folder of frames, or all of these inside a folder.

    A path without any is returned as it is; reading it reports the error.

    Args:
        on_left_out: called with each file of a folder that is no video by its name.
    """
    return (list(_walk(path, on_left_out)) if os.path.isdir(path) else []) or [path]


def left_out_text(paths: Sequence[Path]) -> str:
    """
    >>> left_out_text([Path("notes.txt")]), left_out_text([Path("a.txt"), Path("b.doc"), Path("c.zip"), Path("d.md")])
    ('1 file was left out: notes.txt', '4 files were left out: a.txt, b.doc, c.zip, ...')
    """
    count = "1 file was" if len(paths) == 1 else f"{len(paths)} files were"
    names = [display_name(path) for path in paths[:MAX_NAMES]] + ["..."] * (len(paths) > MAX_NAMES)
    return f"{count} left out: {', '.join(names)}"


def _walk(folder: Path, on_left_out: Callable[[Path], object]) -> Iterator[Path]:
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
            yield from _walk(child, on_left_out)
        elif _is_video(entry):
            yield child
        elif entry.is_file():
            on_left_out(child)


def _is_video(entry: os.DirEntry[str]) -> bool:
    return Path(entry.name).suffix.lower() in VIDEO_SUFFIXES and not entry.name.startswith(".")
