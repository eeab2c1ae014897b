"""What is to be answered: files, folders, globs, columns of tables, and all of these behind URLs that fsspec reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from fsspec.core import url_to_fs
from pyarrow import csv, json, parquet

from hmdb.errors import DataError
from hmdb.text import first_line, one_line
from hmdb.video import VIDEO_SUFFIXES, is_frame_folder
from hmdb.video.find import find_videos

TABLE_SUFFIXES = frozenset({".csv", ".jsonl", ".parquet"})
MAGIC = frozenset("*?[")
MAX_NAME = 80  # characters of a name that is kept for a fetched file


def is_url(path: str) -> bool:
    return "://" in path


def find_sources(sources: Sequence[str], column: str) -> list[str]:
    """The videos that the sources name, each once, in their order: absolute paths, and URLs.

    Args:
        sources: files, folders of frames, folders of these, globs, and .csv, .jsonl and .parquet tables; on this
            machine or behind a URL (s3, gs, hf, http, ...).
        column: of the tables, with a path or URL in each row; a relative one is relative to its table.

    Raises:
        DataError: a source that is not there, holds no videos or cannot be listed.
    """
    videos = dict.fromkeys(video for source in sources for video in _of_one(source, column))
    return list(videos)


def _of_one(source: str, column: str) -> list[str]:
    if _suffix(source) in TABLE_SUFFIXES:
        return _of_table(source, column)
    videos = _behind(source) if is_url(source) else _local(source)
    if not videos:
        raise DataError(f"{one_line(source)} holds no videos ({', '.join(sorted(VIDEO_SUFFIXES))}).")
    return videos


def _local(source: str) -> list[str]:
    path = Path(source).absolute()
    if path.exists():
        found = find_videos(path)
        return [] if found == [path] and path.is_dir() and not is_frame_folder(path) else list(map(str, found))
    if not MAGIC & set(source):
        raise DataError(f"{one_line(source)}: there is no such file or folder.")
    matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    return [str(video) for match in matches if _is_named_as_video(match) for video in find_videos(match)]


def _is_named_as_video(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES


def _behind(url: str) -> list[str]:
    with _named(url):
        files, inside = url_to_fs(url)
        if MAGIC & set(url):
            found = files.glob(inside)
        elif _suffix(url) in VIDEO_SUFFIXES:
            return [url]  # whether it is there shows when it is fetched, and costs its row alone
        else:
            found = files.find(inside)
        return sorted(files.unstrip_protocol(each) for each in found if _suffix(each) in VIDEO_SUFFIXES)


def _of_table(source: str, column: str) -> list[str]:
    readers = {".csv": csv.read_csv, ".jsonl": json.read_json, ".parquet": parquet.read_table}
    with _named(source):
        files, inside = url_to_fs(source)
        with files.open(inside, "rb") as file:
            table = readers[_suffix(source)](file)
        if column not in table.column_names:
            columns = ", ".join(map(one_line, table.column_names))
            raise DataError(f"{one_line(source)} has no column {column}; it has {columns}. Name one with --column.")
        values = [str(value) for value in table[column].to_pylist() if value]
    if not values:
        raise DataError(f"{one_line(source)} names no videos in its column {column}.")
    if is_url(source):
        folder = source.rpartition("/")[0]
        return [value if is_url(value) else f"{folder}/{value}" for value in values]
    here = Path(source).absolute().parent
    return [value if is_url(value) else str(here / value) for value in values]


def _suffix(path: str) -> str:
    inside = urlsplit(path).path if path.startswith(("http://", "https://")) else path
    return PurePosixPath(inside).suffix.lower()


@contextmanager
def _named(source: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # each file system has its own ways to fail
        raise DataError(f"{one_line(source)} cannot be read: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    return one_line(first_line(error)) if not isinstance(error, FileNotFoundError) else "there is no such thing."


@contextmanager
def fetched(path: str) -> Iterator[Path]:
    """A video as a file or a folder on this machine; what is behind a URL only for as long as the context lasts.

    Raises:
        DataError: it cannot be fetched.
    """
    if not is_url(path):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="hmdb-") as folder:
        name = unquote(PurePosixPath(urlsplit(path).path).name)[-MAX_NAME:]
        target = Path(folder) / (name.replace("/", "_") or "video")
        try:
            files: Any
            files, inside = url_to_fs(path)
            files.get_file(inside, str(target))
        except Exception as error:  # as above
            raise DataError(f"{one_line(path)} cannot be fetched: {_reason(error)}") from error
        yield target
