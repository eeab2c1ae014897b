"""Videos as local files: those behind URLs are downloaded ahead of the decoder, and deleted after use."""

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

from hmdb.batch_inference.urls import is_url, redact_urls, redacted_key
from hmdb.errors import DataError
from hmdb.settings import FromEnvironment
from hmdb.text import first_line, one_line

PREFETCH = 4  # downloads at a time, ahead of the decoder
MAX_NAME = 80  # characters of a downloaded file's name
POLL_SECONDS = 0.25  # between two checks of a download's progress


@dataclass(frozen=True, kw_only=True)
class FetchLimits(FromEnvironment):
    """Limits on the download of one file. HMDB_FETCH_SECONDS sets `seconds`, HMDB_FETCH_MB `mb`.

    Attributes:
        seconds: without a further byte, after which a download is given up.
        mb: size of the largest file, in MiB.
    """

    prefix = "HMDB_FETCH_"

    seconds: float = 30.0
    mb: int = 4096


@dataclass(frozen=True, kw_only=True)
class DownloadedFile:
    """The local file of one location, or the error of its download.

    Attributes:
        file: a video file or folder of frames on this machine; None after an error.
        version: changes with the content: size and modification time of a local file, size and SHA-256 of a
            downloaded one. None if there is no such file.
        seconds: duration of the download; 0.0 for a local file.
        error: the reason why there is no file.
        folder: temporary folder of the download.
    """

    file: Path | None = None
    version: str | None = None
    seconds: float = 0.0
    error: DataError | None = None
    folder: Path | None = None

    def path(self) -> Path:
        """
        Raises:
            DataError: it could not be downloaded.
        """
        if self.file is None:
            raise self.error or DataError("There is no file.")
        return self.file


def download_all(locations: Sequence[str], limits: FetchLimits) -> Generator[DownloadedFile]:
    """Yields a local file per location, in order; a downloaded one is deleted when the next is requested."""
    with ThreadPoolExecutor(PREFETCH, thread_name_prefix="fetch") as threads:
        remaining = iter(locations)
        pending = deque(threads.submit(_download_one, location, limits) for location in islice(remaining, PREFETCH))
        try:
            while pending:
                with _deleting(pending[0].result()) as file:
                    yield file
                pending.popleft()
                pending.extend(threads.submit(_download_one, location, limits) for location in islice(remaining, 1))
        finally:
            for future in pending:
                if not future.cancel():
                    with _deleting(future.result()):
                        pass


def file_version(path: Path) -> str | None:
    """Size and modification time of a local file or folder of frames; None if it does not exist.

    A folder's time changes when files are added or removed, not when one is overwritten.
    """
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return f"{status.st_size}-{status.st_mtime_ns}"


@contextmanager
def _deleting(file: DownloadedFile) -> Iterator[DownloadedFile]:
    try:
        yield file
    finally:
        if file.folder is not None:
            shutil.rmtree(file.folder, ignore_errors=True)


def _download_one(location: str, limits: FetchLimits) -> DownloadedFile:
    if not is_url(location):
        path = Path(location)
        return DownloadedFile(file=path, version=file_version(path))
    start = time.perf_counter()
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="hmdb-"))
        name = unquote(PurePosixPath(urlsplit(location).path).name)[-MAX_NAME:]
        file = folder / (name.replace("/", "_") or "video")
        _download(location, file, limits)
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        version = f"{file.stat().st_size}-{digest}"
        return DownloadedFile(file=file, version=version, seconds=time.perf_counter() - start, folder=folder)
    except Exception as cause:  # every file system raises its own
        error = DataError(f"{one_line(redacted_key(location))} cannot be fetched: {failure_reason(cause, location)}")
        error.__cause__ = cause
        return DownloadedFile(seconds=time.perf_counter() - start, error=error, folder=folder)


def failure_reason(error: BaseException, location: str) -> str:
    """The message of a file system's error, in one line and without credentials."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file."
    message = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    return f"{one_line(redact_urls(message, location)).removesuffix('.')}."


def _download(location: str, file: Path, limits: FetchLimits) -> None:
    """
    Raises:
        DataError: the file is too large, or the download stalls.
        Exception: any error of the file system.
    """
    files: Any
    files, path = url_to_fs(location)
    future = _submit(files, path, file)
    size, since = -1, time.monotonic()
    while True:
        done, _ = wait([future], timeout=POLL_SECONDS)
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


def _submit(files: Any, path: str, file: Path) -> Future[None]:
    if isinstance(files, AsyncFileSystem):
        return asyncio.run_coroutine_threadsafe(files._get_file(path, str(file)), files.loop)
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:  # goes on after a stall, as a thread cannot be ended
        try:
            future.set_result(files.get_file(path, str(file)))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
