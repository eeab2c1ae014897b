"""A video as a file or a folder on this machine, wherever it is; what is behind URLs is fetched ahead."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from fsspec.asyn import AsyncFileSystem
from fsspec.core import url_to_fs

from hmdb.batch_inference.urls import is_url, redacted_key, without_secrets
from hmdb.errors import DataError
from hmdb.settings import FromEnvironment
from hmdb.text import first_line, one_line

AHEAD = 4  # files that are fetched while others are decoded
MAX_NAME = 80  # characters of a name that is kept for a fetched file
LOOK_SECONDS = 0.25  # between two looks at how far a fetch is


@dataclass(frozen=True, kw_only=True)
class FetchLimits(FromEnvironment):
    """What fetching one file may cost. HMDB_FETCH_SECONDS sets `seconds`, HMDB_FETCH_MB `mb`.

    Attributes:
        seconds: without a further byte, after which a file counts as out of reach.
        mb: the largest file, in MiB.
    """

    prefix = "HMDB_FETCH_"

    seconds: float = 30.0
    mb: int = 4096


@dataclass(frozen=True, kw_only=True)
class DownloadedFile:
    """What came of one location.

    Attributes:
        file: the video on this machine; None where it could not be fetched.
        stamp: changes with what the video holds: size and time of last change of a local one, size and SHA-256 of
            one that was fetched. None where there is nothing.
        seconds: that fetching took; 0.0 for what is on this machine.
        error: why there is no file.
        folder: that was made for the file.
    """

    file: Path | None = None
    stamp: str | None = None
    seconds: float = 0.0
    error: DataError | None = None
    folder: Path | None = None

    def path(self) -> Path:
        """
        Raises:
            DataError: it could not be fetched.
        """
        if self.file is None:
            raise self.error or DataError("There is no file.")
        return self.file


def download_all(locations: Sequence[str], limits: FetchLimits) -> Generator[DownloadedFile]:
    """Each of the locations in turn. Those behind URLs are there only until the next one is asked for."""
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="fetch") as threads:
        left = iter(locations)
        begun = deque(threads.submit(_download_one, location, limits) for location in islice(left, AHEAD))
        try:
            while begun:
                with _cleared(begun[0].result()) as one:
                    yield one
                begun.popleft()
                begun.extend(threads.submit(_download_one, location, limits) for location in islice(left, 1))
        finally:
            for future in begun:
                if not future.cancel():
                    with _cleared(future.result()):
                        pass


def file_version(path: Path) -> str | None:
    """Of a file or a folder of frames on this machine; None where it is not.

    A folder's own time changes when files come and go, not when one of them is written over.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return f"{status.st_size}-{status.st_mtime_ns}"


@contextmanager
def _cleared(one: DownloadedFile) -> Iterator[DownloadedFile]:
    try:
        yield one
    finally:
        if one.folder is not None:
            shutil.rmtree(one.folder, ignore_errors=True)


def _download_one(location: str, limits: FetchLimits) -> DownloadedFile:
    if not is_url(location):
        path = Path(location)
        return DownloadedFile(file=path, stamp=file_version(path))
    began = time.perf_counter()
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="hmdb-"))
        name = unquote(PurePosixPath(urlsplit(location).path).name)[-MAX_NAME:]
        file = folder / (name.replace("/", "_") or "video")
        _download(location, file, limits)
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        stamp = f"{file.stat().st_size}-{digest}"
        return DownloadedFile(file=file, stamp=stamp, seconds=time.perf_counter() - began, folder=folder)
    except Exception as error:  # each file system has its own ways to fail
        told = DataError(f"{one_line(redacted_key(location))} cannot be fetched: {failure_reason(error, location)}")
        told.__cause__ = error
        return DownloadedFile(seconds=time.perf_counter() - began, error=told, folder=folder)


def failure_reason(error: BaseException, location: str) -> str:
    """What an error of a file system says, in one line and without what is secret."""
    if isinstance(error, FileNotFoundError):
        return "there is no such thing."
    told = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    return f"{one_line(without_secrets(told, location)).removesuffix('.')}."


def _download(location: str, file: Path, limits: FetchLimits) -> None:
    """
    Raises:
        DataError: it is too large, or nothing more comes.
        Exception: whatever the file system raises.
    """
    files: Any
    files, inside = url_to_fs(location)
    future = _submit(files, inside, file)
    size, since = -1, time.monotonic()
    while True:
        done, _ = wait([future], timeout=LOOK_SECONDS)
        now = file.stat().st_size if file.exists() else -1
        if now != size:
            size, since = now, time.monotonic()
        if size > limits.mb * 2**20:
            future.cancel()
            raise DataError(f"it is larger than {limits.mb} MB")
        if done:
            return future.result()
        if time.monotonic() - since > limits.seconds:
            future.cancel()
            raise DataError(f"nothing more came for {limits.seconds:g} seconds")


def _submit(files: Any, inside: str, file: Path) -> Future[None]:
    if isinstance(files, AsyncFileSystem):
        return asyncio.run_coroutine_threadsafe(files._get_file(inside, str(file)), files.loop)
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:  # left behind where nothing more comes: a thread cannot be ended
        try:
            future.set_result(files.get_file(inside, str(file)))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
