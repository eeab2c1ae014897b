"""The output folder of a job: `job.json`, `answers/part-000000.parquet`, ..., and with timelines `segments/` likewise.

The parts are the only record of finished work. A part is written under a temporary name and renamed by an operation
that fails if the name is taken, and parts are numbered without gaps. So the writer of a part has seen all earlier
ones, and no video gets a second row, whatever process is killed and however many jobs share the folder by mistake.
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
ORPHAN_SECONDS = 60.0  # after which segments without answers are those of a killed job


class ParquetStore:
    """The folder of a job, on this machine or behind a URL that fsspec writes."""

    def __init__(self, target: str) -> None:
        """
        Raises:
            DataError: it cannot be created, or another job is writing into it.
        """
        self._name = one_line(target)
        self._lock: IO[bytes] | None = None
        with self._as_data_error():
            self._files, self._root = url_to_fs(target)
            self._is_local = isinstance(self._files, LocalFileSystem)
            self._files.makedirs(self._root, exist_ok=True)
            if self._is_local:
                self._lock_folder()
        self._next = 0
        self._orphans: dict[str, float] = {}  # part -> time at which it was found

    def start(self, fingerprint: dict[str, Any]) -> None:
        """Assigns the folder to a job, and removes unfinished files of a killed run.

        Raises:
            DataError: the folder belongs to another job, or holds other files.
        """
        tables = (ANSWERS, SEGMENTS) if fingerprint["timeline"] else (ANSWERS,)
        manifest = self.manifest()
        with self._as_data_error():
            for folder in tables:
                self._files.makedirs(self._path(folder), exist_ok=True)
            if manifest is not None:
                self._check_same_job(manifest, fingerprint)
            elif self._list_parts(ANSWERS):
                raise DataError(f"{self._name} has answers but no {MANIFEST}. Name another folder.")
            else:
                text = json.dumps(fingerprint, indent=1) + "\n"
                self._create(MANIFEST, lambda file: file.write(text.encode()))
            self._next = max(map(_part_number, self._list_parts(ANSWERS)), default=-1) + 1
            for folder in tables:
                for name in self._list(folder):
                    if name.endswith(TEMPORARY):
                        self._files.rm_file(self._path(folder, name))
                    elif folder == SEGMENTS and _part_number(name) >= self._next:
                        self._handle_orphan(name)

    def _handle_orphan(self, name: str) -> None:
        """Segments without answers: of a killed job or, without a lock, of one that is about to write its answers."""
        if self._lock is not None:
            self._files.rm_file(self._path(SEGMENTS, name))
        else:
            self._orphans[name] = time.monotonic()

    def _remove_orphan(self, name: str) -> None:
        """Deletes segments whose answers have not appeared after `ORPHAN_SECONDS`."""
        if (since := self._orphans.pop(name, None)) is not None:
            time.sleep(max(since + ORPHAN_SECONDS - time.monotonic(), 0))
            if not self._files.exists(self._path(ANSWERS, name)):
                self._files.rm_file(self._path(SEGMENTS, name))

    def _check_same_job(self, manifest: dict[str, Any], fingerprint: dict[str, Any]) -> None:
        for key, value in fingerprint.items():
            if manifest.get(key) != value:
                difference = f"{key} is {_shorten(manifest.get(key))} there and {_shorten(value)} here"
                raise DataError(f"{self._name} holds the answers of another job: {difference}. Name another folder.")

    def manifest(self) -> dict[str, Any] | None:
        """The content of job.json; None if there is none yet.

        Raises:
            DataError: it cannot be read.
        """
        with self._as_data_error():
            if not self._files.exists(self._path(MANIFEST)):
                return None
            manifest: dict[str, Any] = json.loads(self._files.cat_file(self._path(MANIFEST)))
            return manifest

    def rows(self, *columns: str) -> Iterator[tuple[Any, ...]]:
        """Iterates over these columns of all rows.

        Raises:
            DataError: a part cannot be read.
        """
        for part in self._list_parts(ANSWERS):
            with self._as_data_error():
                with self._files.open(self._path(ANSWERS, part), "rb") as file:
                    table = parquet.read_table(file, columns=list(columns))
                values = [table[name].to_pylist() for name in columns]
            yield from zip(*values, strict=True)

    def delete_rows(self, paths: Set[str]) -> int:
        """Deletes the rows of these videos, so that they can be done again.

        Returns:
            Number of deleted rows.

        Raises:
            DataError: a part cannot be read or written.
        """
        num_deleted = 0
        for name in self._list_parts(ANSWERS):
            with self._as_data_error():
                with self._files.open(self._path(ANSWERS, name), "rb") as file:
                    table = parquet.read_table(file)
                deleted = [path in paths for path in table["path"].to_pylist()]
                if any(deleted):
                    num_deleted += sum(deleted)
                    self._delete_segments(name, paths)
                    self._replace(f"{ANSWERS}/{name}", table.filter(pc.invert(pa.array(deleted))))
        return num_deleted

    def _delete_segments(self, name: str, paths: Set[str]) -> None:
        if self._files.exists(self._path(SEGMENTS, name)):
            with self._files.open(self._path(SEGMENTS, name), "rb") as file:
                table = parquet.read_table(file)
            kept = pa.array([path not in paths for path in table["path"].to_pylist()], pa.bool_())
            self._replace(f"{SEGMENTS}/{name}", table.filter(kept))

    def write(self, rows: pa.Table) -> None:
        """Writes the next part, atomically.

        Raises:
            DataError: it cannot be written, or another job has written it.
        """
        name = f"part-{self._next:06}.parquet"
        with self._as_data_error():
            try:
                if SEGMENTS in rows.column_names:
                    self._remove_orphan(name)
                    self._create(f"{SEGMENTS}/{name}", _table_writer(segment_table(rows)))
                    rows = rows.drop_columns([SEGMENTS])
                self._create(f"{ANSWERS}/{name}", _table_writer(rows))
            except FileExistsError as error:
                raise DataError(f"Another job is writing into {self._name}, so this one ends.") from error
        self._next += 1

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """Number of rows per label and per class of error; "wave?" counts those that may show none of the labels."""
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

    def _list_parts(self, folder: str) -> list[str]:
        return [name for name in self._list(folder) if name.endswith(".parquet")]

    def _list(self, folder: str) -> list[str]:
        self._files.invalidate_cache()
        try:
            paths = self._files.ls(self._path(folder), detail=False)
        except FileNotFoundError:  # an object store has no empty folders
            return []
        return sorted(PurePosixPath(path).name for path in paths)

    def _path(self, *names: str) -> str:
        return "/".join((self._root, *names))

    def _create(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        """Writes a file atomically, under a new name.

        Raises:
            FileExistsError: the name is taken.
        """
        if not self._is_local:
            buffer = io.BytesIO()
            write(buffer)
            self._files.pipe_file(self._path(name), buffer.getvalue(), mode="create")
            return
        target = Path(self._path(name))
        temporary = self._write_temporary(target, write)
        try:
            os.link(temporary, target)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            if target.exists():  # a file system without hard links: only the lock keeps other jobs out
                raise FileExistsError(errno.EEXIST, "taken", str(target)) from error
            temporary.rename(target)
        finally:
            temporary.unlink(missing_ok=True)

    def _replace(self, name: str, rows: pa.Table) -> None:
        if self._is_local:
            target = Path(self._path(name))
            self._write_temporary(target, _table_writer(rows)).replace(target)
        else:
            buffer = io.BytesIO()
            _table_writer(rows)(buffer)
            self._files.pipe_file(self._path(name), buffer.getvalue())

    def _write_temporary(self, target: Path, write: Callable[[IO[bytes]], object]) -> Path:
        """Writes a temporary file next to the target and syncs it to disk."""
        temporary = target.with_name(f"{target.name}.{os.getpid()}{TEMPORARY}")
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    def _lock_folder(self) -> None:
        """Locks the folder until this process ends, in whatever way."""
        if sys.platform == "win32":
            return
        import fcntl

        lock = Path(self._path(".lock")).open("ab")  # noqa: SIM115 - held until close
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise DataError(f"Another job is writing into {self._name}.") from error
        except OSError:  # a file system without locks: as behind a URL, only the names of the parts keep other jobs out
            lock.close()
            return
        self._lock = lock

    @contextlib.contextmanager
    def _as_data_error(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # every file system raises its own
            reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
            raise DataError(f"{self._name} cannot be written or read: {one_line(reason)}.") from error


def segment_table(answers: pa.Table) -> pa.Table:
    """The second table: one row per segment of each video."""
    rows = [
        {"path": path, **segment}
        for path, segments in zip(answers["path"].to_pylist(), answers[SEGMENTS].to_pylist(), strict=True)
        for segment in segments or ()
    ]
    fields: Sequence[pa.Field] = list(answers.schema.field(SEGMENTS).type.value_type)
    return pa.Table.from_pylist(rows, schema=pa.schema([("path", pa.string()), *fields]))


def _table_writer(table: pa.Table) -> Callable[[IO[bytes]], object]:
    return lambda file: parquet.write_table(table, file, compression="zstd")


def _part_number(name: str) -> int:
    """
    >>> _part_number("part-000017.parquet")
    17
    """
    digits = name.removeprefix("part-").partition(".")[0]
    return int(digits) if digits.isdecimal() else -1


def _shorten(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
