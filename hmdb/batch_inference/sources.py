"""Resolves sources to videos: files, folders, globs and columns of tables, local or behind URLs that fsspec reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from fsspec.core import url_to_fs
from pyarrow import csv, json, parquet

from hmdb.batch_inference.download import failure_reason
from hmdb.batch_inference.urls import is_url, redacted_key
from hmdb.errors import DataError
from hmdb.text import one_line
from hmdb.video import VIDEO_SUFFIXES, is_frame_folder
from hmdb.video.discover import find_videos

TABLE_SUFFIXES = frozenset({".csv", ".jsonl", ".parquet"})
GLOB_CHARACTERS = frozenset("*?[")


def find_sources(sources: Sequence[str], column: str) -> list[str]:
    """The videos of the sources, as absolute paths and URLs, in order and without duplicates.

    Args:
        sources: files, folders of frames, folders of these, .csv, .jsonl and .parquet tables, and globs of all these;
            on this machine or behind a URL (s3, gs, hf, http, ...).
        column: of the tables, with a path or URL in each row; a relative one is relative to its table.

    Raises:
        DataError: a source does not exist, holds no videos or cannot be listed.
    """
    videos = dict.fromkeys(video for source in sources for video in _find_in(source, column))
    return list(videos)


def _find_in(source: str, column: str) -> list[str]:
    if _suffix(source) in TABLE_SUFFIXES:
        return [video for table in _find_tables(source) for video in _read_column(table, column)]
    videos = _list_url(source) if is_url(source) else _list_local(source)
    if not videos:
        raise DataError(f"{_display_name(source)} holds no videos ({', '.join(sorted(VIDEO_SUFFIXES))}).")
    return videos


def _find_tables(source: str) -> list[str]:
    """One table, or those that a glob matches."""
    if not _is_glob(source) or Path(source).exists():
        return [source]
    with _as_data_error(source):
        files, path = url_to_fs(source)
        tables = sorted(files.glob(path))
    if not tables:
        raise DataError(f"{_display_name(source)} matches no tables.")
    return [files.unstrip_protocol(table) for table in tables] if is_url(source) else tables


def _is_glob(source: str) -> bool:
    return bool(GLOB_CHARACTERS & set(_path(source)))


def _list_local(source: str) -> list[str]:
    path = Path(source).absolute()
    if path.exists():
        videos = find_videos(path)
        return [] if videos == [path] and path.is_dir() and not is_frame_folder(path) else list(map(str, videos))
    if not _is_glob(source):
        raise DataError(f"{_display_name(source)}: there is no such file or folder.")
    matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    return [str(video) for match in matches if _has_video_name(match) for video in find_videos(match)]


def _has_video_name(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES


def _list_url(url: str) -> list[str]:
    with _as_data_error(url):
        files, path = url_to_fs(url)
        if _is_glob(url):
            paths = files.glob(path)
        elif _suffix(url) in VIDEO_SUFFIXES:
            return [url]  # not checked here: if it is missing, its download fails and costs its row only
        else:
            paths = files.find(path)
        return sorted(files.unstrip_protocol(video) for video in paths if _suffix(video) in VIDEO_SUFFIXES)


def _read_column(source: str, column: str) -> list[str]:
    readers = {".csv": csv.read_csv, ".jsonl": json.read_json, ".parquet": parquet.read_table}
    with _as_data_error(source):
        files, path = url_to_fs(source)
        with files.open(path, "rb") as file:
            table = readers[_suffix(source)](file)
        if column not in table.column_names:
            columns = ", ".join(map(one_line, table.column_names))
            raise DataError(
                f"{_display_name(source)} has no column {column}; it has {columns}. Name one with --column."
            )
        values = [str(value) for value in table[column].to_pylist() if value]
    if not values:
        raise DataError(f"{_display_name(source)} has no values in its column {column}.")
    if is_url(source):
        folder = _path(source).rpartition("/")[0]
        return [value if is_url(value) else f"{folder}/{value}" for value in values]
    parent = Path(source).absolute().parent
    return [value if is_url(value) else str(parent / value) for value in values]


def _suffix(source: str) -> str:
    return PurePosixPath(_path(source)).suffix.lower()


def _path(source: str) -> str:
    """The source without the query of an http URL; elsewhere a question mark may be part of a name or a glob."""
    return source.partition("?")[0] if source.startswith(("http://", "https://")) else source


def _display_name(source: str) -> str:
    return one_line(redacted_key(source))


@contextmanager
def _as_data_error(source: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # every file system raises its own
        raise DataError(f"{_display_name(source)} cannot be read: {failure_reason(error, source)}") from error
