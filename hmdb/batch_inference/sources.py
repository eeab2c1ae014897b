"""What is to be answered: files, folders, globs, columns of tables, and all of these behind URLs that fsspec reads."""

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
MAGIC = frozenset("*?[")


def find_sources(sources: Sequence[str], column: str) -> list[str]:
    """The videos that the sources name, each once, in their order: absolute paths, and URLs.

    Args:
        sources: files, folders of frames, folders of these, .csv, .jsonl and .parquet tables, and globs of all these;
            on this machine or behind a URL (s3, gs, hf, http, ...).
        column: of the tables, with a path or URL in each row; a relative one is relative to its table.

    Raises:
        DataError: a source that is not there, holds no videos or cannot be listed.
    """
    videos = dict.fromkeys(video for source in sources for video in _of_one(source, column))
    return list(videos)


def _of_one(source: str, column: str) -> list[str]:
    if _suffix(source) in TABLE_SUFFIXES:
        return [video for table in _tables(source) for video in _of_table(table, column)]
    videos = _behind(source) if is_url(source) else _local(source)
    if not videos:
        raise DataError(f"{_shown(source)} holds no videos ({', '.join(sorted(VIDEO_SUFFIXES))}).")
    return videos


def _tables(source: str) -> list[str]:
    """One table, or those that a glob names."""
    if not _is_glob(source) or Path(source).exists():
        return [source]
    with _named(source):
        files, inside = url_to_fs(source)
        found = sorted(files.glob(inside))
    if not found:
        raise DataError(f"{_shown(source)} names no tables.")
    return [files.unstrip_protocol(each) for each in found] if is_url(source) else found


def _is_glob(source: str) -> bool:
    return bool(MAGIC & set(_path(source)))


def _local(source: str) -> list[str]:
    path = Path(source).absolute()
    if path.exists():
        found = find_videos(path)
        return [] if found == [path] and path.is_dir() and not is_frame_folder(path) else list(map(str, found))
    if not _is_glob(source):
        raise DataError(f"{_shown(source)}: there is no such file or folder.")
    matches = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    return [str(video) for match in matches if _is_named_as_video(match) for video in find_videos(match)]


def _is_named_as_video(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES


def _behind(url: str) -> list[str]:
    with _named(url):
        files, inside = url_to_fs(url)
        if _is_glob(url):
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
            raise DataError(f"{_shown(source)} has no column {column}; it has {columns}. Name one with --column.")
        values = [str(value) for value in table[column].to_pylist() if value]
    if not values:
        raise DataError(f"{_shown(source)} names no videos in its column {column}.")
    if is_url(source):
        folder = _path(source).rpartition("/")[0]
        return [value if is_url(value) else f"{folder}/{value}" for value in values]
    here = Path(source).absolute().parent
    return [value if is_url(value) else str(here / value) for value in values]


def _suffix(source: str) -> str:
    return PurePosixPath(_path(source)).suffix.lower()


def _path(source: str) -> str:
    """Without what an address has behind a question mark, which elsewhere may be part of a name or a glob."""
    return source.partition("?")[0] if source.startswith(("http://", "https://")) else source


def _shown(source: str) -> str:
    return one_line(redacted_key(source))


@contextmanager
def _named(source: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # each file system has its own ways to fail
        raise DataError(f"{_shown(source)} cannot be read: {failure_reason(error, source)}") from error
