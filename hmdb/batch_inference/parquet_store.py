"""The folder that a job writes: `job.json`, `answers/part-000000.parquet`, ..., with timelines `segments/` likewise.

Nothing else says what is done. A part is written under a temporary name and gets its own by an operation that
fails where that name is taken; parts are numbered without gaps. So whoever writes a part has seen all earlier
ones, and no video gets a second row, whatever is killed and however many jobs believe that the folder is theirs.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from pyarrow import parquet

from hmdb.errors import DataError
from hmdb.text import first_line, one_line

MANIFEST = "job.json"
ANSWERS, SEGMENTS = "answers", "segments"
TEMPORARY = ".tmp"
SECONDS_BETWEEN = 60.0  # that a job needs at most from the segments of a part to its answers


class ParquetStore:
    """The folder of a job, on this machine or behind a URL that fsspec writes."""

    def __init__(self, target: str) -> None:
        """
        Raises:
            DataError: it cannot be made, or another job is at work in it.
        """
        self._name = one_line(target)
        self._lock: IO[bytes] | None = None
        with self._named():
            self._files, self._root = url_to_fs(target)
            self._is_local = isinstance(self._files, LocalFileSystem)
            self._files.makedirs(self._root, exist_ok=True)
            if self._is_local:
                self._take_lock()
        self._next = 0
        self._left: dict[str, float] = {}

    def start(self, fingerprint: dict[str, Any]) -> None:
        """Makes the folder that of a job, and clears away what a kill left half done.

        Raises:
            DataError: it is that of another job, or holds other things.
        """
        tables = (ANSWERS, SEGMENTS) if fingerprint["timeline"] else (ANSWERS,)
        there = self.manifest()
        with self._named():
            for folder in tables:
                self._files.makedirs(self._path(folder), exist_ok=True)
            if there is not None:
                self._check(there, fingerprint)
            elif self._parts(ANSWERS):
                raise DataError(f"{self._name} has answers but no {MANIFEST}. Name another folder.")
            else:
                text = json.dumps(fingerprint, indent=1) + "\n"
                self._create(MANIFEST, lambda file: file.write(text.encode()))
            self._next = max(map(_number, self._parts(ANSWERS)), default=-1) + 1
            for folder in tables:
                for name in self._listed(folder):
                    if name.endswith(TEMPORARY):
                        self._files.rm_file(self._path(folder, name))
                    elif folder == SEGMENTS and _number(name) >= self._next:
                        self._left_over(name)

    def _left_over(self, name: str) -> None:
        """Segments without answers: of a kill or, where nothing locks, of another job that is about to write those."""
        if self._lock is not None:
            self._files.rm_file(self._path(SEGMENTS, name))
        else:
            self._left[name] = time.monotonic()

    def _clear_left(self, name: str) -> None:
        """Segments whose answers have not come after a while are a kill's."""
        if (since := self._left.pop(name, None)) is not None:
            time.sleep(max(since + SECONDS_BETWEEN - time.monotonic(), 0))
            if not self._files.exists(self._path(ANSWERS, name)):
                self._files.rm_file(self._path(SEGMENTS, name))

    def _check(self, there: dict[str, Any], here: dict[str, Any]) -> None:
        for key in here:
            if there.get(key) != here[key]:
                what = f"{key} is {_short(there.get(key))} there and {_short(here[key])} here"
                raise DataError(f"{self._name} holds the answers of another job: {what}. Name another folder.")

    def manifest(self) -> dict[str, Any] | None:
        """What the folder says of its job; None where it says nothing yet.

        Raises:
            DataError: it cannot be read.
        """
        with self._named():
            if not self._files.exists(self._path(MANIFEST)):
                return None
            found: dict[str, Any] = json.loads(self._files.cat_file(self._path(MANIFEST)))
            return found

    def rows(self, *columns: str) -> Iterator[tuple[Any, ...]]:
        """These columns of each row.

        Raises:
            DataError: a part cannot be read.
        """
        for part in self._parts(ANSWERS):
            with self._named():
                with self._files.open(self._path(ANSWERS, part), "rb") as file:
                    table = parquet.read_table(file, columns=list(columns))
                values = [table[name].to_pylist() for name in columns]
            yield from zip(*values, strict=True)

    def drop(self, paths: Set[str]) -> int:
        """Takes away the rows of these videos, so that they are missing and can be done again."""
        dropped = 0
        for name in self._parts(ANSWERS):
            with self._named():
                with self._files.open(self._path(ANSWERS, name), "rb") as file:
                    table = parquet.read_table(file)
                again = [path in paths for path in table["path"].to_pylist()]
                if any(again):
                    dropped += sum(again)
                    self._drop_segments(name, paths)
                    self._replace(f"{ANSWERS}/{name}", table.filter(pc.invert(pa.array(again))))
        return dropped

    def _drop_segments(self, name: str, paths: Set[str]) -> None:
        if self._files.exists(self._path(SEGMENTS, name)):
            with self._files.open(self._path(SEGMENTS, name), "rb") as file:
                table = parquet.read_table(file)
            left = pa.array([path not in paths for path in table["path"].to_pylist()], pa.bool_())
            self._replace(f"{SEGMENTS}/{name}", table.filter(left))

    def write(self, rows: pa.Table) -> None:
        """The next part. It is there whole, or not at all.

        Raises:
            DataError: it cannot be written, or another job has written it.
        """
        name = f"part-{self._next:06}.parquet"
        with self._named():
            try:
                if SEGMENTS in rows.column_names:
                    self._clear_left(name)
                    self._create(f"{SEGMENTS}/{name}", _writer(segment_rows(rows)))
                    rows = rows.drop_columns([SEGMENTS])
                self._create(f"{ANSWERS}/{name}", _writer(rows))
            except FileExistsError as error:
                raise DataError(f"Another job writes into {self._name}, so this one ends.") from error
        self._next += 1

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """How often each label and each class of error occurs; "wave?" may be none of the labels."""
        labels: Counter[str] = Counter()
        errors: Counter[str] = Counter()
        for label, is_known, error in self.rows("label", "is_known", "error_class"):
            if error is not None:
                errors[error] += 1
            else:
                labels[label if is_known else f"{label}?"] += 1
        return labels, errors

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _parts(self, folder: str) -> list[str]:
        return [name for name in self._listed(folder) if name.endswith(".parquet")]

    def _listed(self, folder: str) -> list[str]:
        self._files.invalidate_cache()
        try:
            found = self._files.ls(self._path(folder), detail=False)
        except FileNotFoundError:  # an object store has no empty folders
            return []
        return sorted(PurePosixPath(each).name for each in found)

    def _path(self, *names: str) -> str:
        return "/".join((self._root, *names))

    def _create(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """Writes a file whole, under a name that must be free.

        Raises:
            FileExistsError: it is not.
        """
        if not self._is_local:
            buffer = io.BytesIO()
            write(buffer)
            self._files.pipe_file(self._path(name), buffer.getvalue(), mode="create")
            return
        target = Path(self._path(name))
        part = self._written(target, write)
        try:
            os.link(part, target)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            if target.exists():  # a file system without hard links: our lock is all there is
                raise FileExistsError(errno.EEXIST, "taken", str(target)) from error
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)

    def _replace(self, name: str, rows: pa.Table) -> None:
        if self._is_local:
            target = Path(self._path(name))
            self._written(target, _writer(rows)).replace(target)
        else:
            buffer = io.BytesIO()
            _writer(rows)(buffer)
            self._files.pipe_file(self._path(name), buffer.getvalue())

    def _written(self, target: Path, write: Callable[[IO[bytes]], object]) -> Path:
        """A temporary file beside the target, on the disk for good."""
        part = target.with_name(f"{target.name}.{os.getpid()}{TEMPORARY}")
        try:
            with part.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return part

    def _take_lock(self) -> None:
        """For as long as this process lives, however it ends."""
        if sys.platform == "win32":
            return
        import fcntl

        lock = Path(self._path(".lock")).open("ab")  # noqa: SIM115 - held until close
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise DataError(f"Another job is at work in {self._name}.") from error
        except OSError:  # a file system without locks: as behind a URL, the names of the parts are all there is
            lock.close()
            return
        self._lock = lock

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # each file system has its own ways to fail
            reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
            raise DataError(f"{self._name} cannot be written or read: {one_line(reason)}.") from error


def segment_rows(answers: pa.Table) -> pa.Table:
    """The second table: a row for each segment of each video."""
    rows = [
        {"path": path, **segment}
        for path, segments in zip(answers["path"].to_pylist(), answers[SEGMENTS].to_pylist(), strict=True)
        for segment in segments or ()
    ]
    fields: Sequence[pa.Field] = list(answers.schema.field(SEGMENTS).type.value_type)
    return pa.Table.from_pylist(rows, schema=pa.schema([("path", pa.string()), *fields]))


def _writer(table: pa.Table) -> Callable[[IO[bytes]], object]:
    return lambda file: parquet.write_table(table, file, compression="zstd")


def _number(name: str) -> int:
    """
    >>> _number("part-000017.parquet")
    17
    """
    digits = name.removeprefix("part-").partition(".")[0]
    return int(digits) if digits.isdecimal() else -1


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
