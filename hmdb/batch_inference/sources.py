"""Resolves sources to videos: files, folders, globs and columns of tables, local or behind URLs that fsspec reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa
from fsspec.core import url_to_fs
from pyarrow import csv, json, parquet

from hmdb.batch_inference.download import failure_reason
from hmdb.batch_inference.urls import is_url, redacted_key
from hmdb.errors import DataError
from hmdb.text import one_line
from hmdb.video import VIDEO_SUFFIXES, is_frame_folder
from hmdb.video.discover import find_videos, left_out_text

TABLE_SUFFIXES = frozenset({".csv", ".jsonl", ".parquet"})
GLOB_CHARACTERS = frozenset("*?[")


def find_sources(
    sources: Sequence[str], column: str, on_message: Callable[[str], object] = lambda _: None
) -> list[str]:
    """The videos of the sources, as absolute paths and URLs, in order and without duplicates.

    Args:
        sources: files, folders of frames, folders of these, .csv, .jsonl and .parquet tables, and globs of all these;
            on this machine or behind a URL (s3, gs, hf, http, ...).
        column: of the tables, with a path or URL in each row; a relative one is relative to its table.
        on_message: called with a line about the files that were left out: others than videos, and those whose names
            no table can hold.

    Raises:
        DataError: a source does not exist, holds no videos or cannot be listed.
    """
    left_out: list[Path] = []
    videos = dict.fromkeys(video for source in sources for video in _find_in(source, column, left_out.append))
    unnamed = [video for video in videos if not _is_unicode(video)]
    if left_out:
        on_message(f"Note: {left_out_text(left_out)}")
    if unnamed:
        on_message(f"Note: {left_out_text(list(map(Path, unnamed)))}. Their names are not UTF-8; rename them.")
    return [video for video in videos if _is_unicode(video)]


def _is_unicode(name: str) -> bool:
    """False for a file name of other bytes, which Python holds as lone surrogates."""
    return name.encode("utf-8", "replace").decode() == name


def _find_in(source: str, column: str, on_left_out: Callable[[Path], object]) -> list[str]:
    if _suffix(source) in TABLE_SUFFIXES:
        return [video for table in _find_tables(source) for video in _read_column(table, column)]
    videos = _list_url(source) if is_url(source) else _list_local(source, on_left_out)
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


def _list_local(source: str, on_left_out: Callable[[Path], object]) -> list[str]:
    path = Path(source).absolute()
    if path.exists():
        videos = find_videos(path, on_left_out)
        return [] if videos == [path] and path.is_dir() and not is_frame_folder(path) else list(map(str, videos))
    if not _is_glob(source):
        raise DataError(f"{_display_name(source)}: there is no such file or folder.")
    matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    return [str(video) for match in matches if _has_video_name(match) for video in find_videos(match, on_left_out)]


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
    with _as_data_error(source):
        files, path = url_to_fs(source)
        with files.open(path, "rb") as file:
            table = _read_table(file, _suffix(source), column)
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


def _read_table(file: BinaryIO, suffix: str, column: str) -> pa.Table:
    """A table whose paths stay text: 001 is no number, and a date is not written anew."""
    match suffix:
        case ".csv":
            return csv.read_csv(file, convert_options=csv.ConvertOptions(column_types={column: pa.string()}))
        case ".jsonl":
            table = json.read_json(file)
            if column not in table.column_names or pa.types.is_string(table[column].type):
                return table
            file.seek(0)
            return json.read_json(file, parse_options=json.ParseOptions(pa.schema([(column, pa.string())])))
        case _:
            return parquet.read_table(file)


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
