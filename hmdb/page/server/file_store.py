"""The files of the page: uploads, results and examples, in a folder of this process.

Each upload and each result gets a folder with an unguessable name that only its client learns. Clients name a file by
its path within the store. Files are served, and uploads accepted as input, until they expire. All folders together
keep within a budget of disk space.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from hmdb.errors import HmdbError
from hmdb.page import PREFIX, ROOT
from hmdb.page.server.session import client_address
from hmdb.text import is_plain

UPLOADS, ANSWERS, EXAMPLES = "uploads", "answers", "examples"
LOCK = "lock"
MAX_UNFINISHED_SHARE = 1 / 4  # of the budget, for several unfinished uploads of one client


class StorageFullError(HmdbError):
    """The store has no room for a file, even after evicting others."""


class AddressQuotaError(HmdbError):
    """One client's unfinished uploads take too much of the store."""


@dataclass(eq=False)
class StoredFolder:
    """The folder of one upload or result.

    Attributes:
        owner: the client's address; "" if unknown.
        size: bytes reserved for it.
        finished_at: by the monotonic clock; infinity while it is being written.
        pins: one entry for each answer that reads it, which keeps it from being deleted.
    """

    path: Path
    owner: str
    size: int = 0
    finished_at: float = float("inf")
    pins: list[None] = field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        return self.finished_at < float("inf")


def disk_usage(folder: Path) -> int:
    """Bytes that a folder takes on the disk in whole blocks, which for many small files exceed their lengths."""
    return sum(path.stat().st_blocks for path in (folder, *folder.rglob("*"))) * 512  # st_blocks's unit


@dataclass(eq=False)
class FileStore:
    """The stored folders of this process. Safe to share between threads.

    Attributes:
        root: the folder of the store.
        budget: bytes that all stored folders may take.
        keep_seconds: from when a folder is finished to when it expires.
    """

    root: Path
    budget: int = 2**31
    keep_seconds: float = 3600.0
    _folders: dict[str, StoredFolder] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _root_lock: FileLock | None = None
    _public: set[str] = field(default_factory=set)

    def open(self) -> None:
        """Creates and locks the root, and deletes the roots of processes that ended without closing theirs."""
        with self._lock:
            if self._root_lock:
                return
            self.root.mkdir(parents=True, exist_ok=True)  # Gradio may have made it
            self.root.chmod(0o700)
            self._root_lock = FileLock(self.root / LOCK)
            self._root_lock.acquire(timeout=0)
            atexit.register(self._close_in_process, os.getpid())
        for other in self.root.parent.glob(f"{PREFIX}*"):
            if other != self.root and _is_abandoned(other):
                shutil.rmtree(other, ignore_errors=True)

    def close(self) -> None:
        """Deletes the root with all files."""
        with self._lock:
            self._folders.clear()
            shutil.rmtree(self.root, ignore_errors=True)
            if self._root_lock:
                self._root_lock.release()
                self._root_lock = None

    def _close_in_process(self, pid: int) -> None:
        if os.getpid() == pid:  # not in a forked child
            self.close()

    @property
    def used_bytes(self) -> int:
        """Bytes reserved for all folders."""
        with self._lock:
            return sum(folder.size for folder in self._folders.values())

    @contextmanager
    def create_folder(self, kind: str, owner: str = "") -> Iterator[StoredFolder]:
        """Creates a folder; it is deleted if the `with` block raises.

        Args:
            kind: UPLOADS or ANSWERS.
            owner: the client's address, for quotas.
        """
        self.open()
        token = secrets.token_urlsafe(24)
        folder = StoredFolder(self.root / kind / token, owner)
        folder.path.mkdir(mode=0o700, parents=True)
        with self._lock:
            self._folders[f"{kind}/{token}"] = folder
        try:
            yield folder
        except BaseException:
            self._delete(folder)
            raise
        folder.finished_at = time.monotonic()

    @contextmanager
    def temporary_folder(self, owner: str) -> Iterator[StoredFolder]:
        """Creates a folder for an upload that is deleted after the `with` block."""
        with self.create_folder(UPLOADS, owner) as folder:
            try:
                yield folder
            finally:
                self._delete(folder)

    def reserve(self, folder: StoredFolder, count: int) -> None:
        """Reserves bytes for a folder; evicts finished ones, the oldest of the owner with most bytes first.

        Raises:
            StorageFullError: nothing is left to evict.
        """
        with self._lock:
            while self.used_bytes + count > self.budget:
                victim = self._eviction_candidate()
                if victim is None:
                    raise StorageFullError(
                        "The page has no room for more files at the moment. Try again in a few minutes."
                    )
                self._delete(victim)
            folder.size += count

    def reserve_upload(self, folder: StoredFolder, count: int) -> None:
        """Reserves bytes for a chunk of an upload.

        Unfinished uploads cannot be evicted, so those of one client must leave room for others.

        Raises:
            AddressQuotaError: the client's unfinished uploads take too much.
            StorageFullError: nothing is left to evict.
        """
        with self._lock:
            unfinished = sum(
                each.size for each in self._folders.values() if each.owner == folder.owner and not each.is_finished
            )
            if unfinished > folder.size and unfinished + count > MAX_UNFINISHED_SHARE * self.budget:
                raise AddressQuotaError(
                    "Too many unfinished uploads from your address. Try again when one has finished."
                )
            self.reserve(folder, count)

    def _eviction_candidate(self) -> StoredFolder | None:
        sizes: dict[str, int] = {}
        for folder in self._folders.values():
            sizes[folder.owner] = sizes.get(folder.owner, 0) + folder.size
        evictable = [folder for folder in self._folders.values() if folder.is_finished and not folder.pins]
        return min(evictable, key=lambda folder: (-sizes[folder.owner], folder.finished_at), default=None)

    def name_of(self, path: str | Path) -> str:
        """The name by which clients know a file: its path within the store."""
        return str(Path(path).relative_to(self.root))

    def resolve(self, name: str, *kinds: str) -> Path | None:
        """The path of a file by its name.

        Args:
            kinds: of folders that it may be in, besides public files: UPLOADS, ANSWERS.

        Returns:
            None unless it is a regular file, neither symlink nor hard link, that is public or in a finished folder of
            these kinds that has not expired.
        """
        path = self.root / name
        if not is_plain(name) or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
            return None
        kind, _, rest = name.partition("/")
        if kind not in (*kinds, EXAMPLES, *self._public):
            return None
        if kind in kinds:
            with self._lock:
                folder = self._folders.get(f"{kind}/{rest.partition('/')[0]}")
            if folder is None or not folder.is_finished or self._is_expired(folder):
                return None
        try:
            status = path.lstat()
            is_regular = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and path.resolve(strict=True) == path
        except OSError:
            return None
        return path if is_regular else None

    @contextmanager
    def pin(self, path: str | Path) -> Iterator[None]:
        """Keeps the folder of a file from being deleted while an answer reads it.

        Leaving takes no lock: the garbage collector may end the answer at any point.
        """
        with self._lock:
            folder = self._folders.get(self._key(path))
            if folder:
                folder.pins.append(None)
        try:
            yield
        finally:
            if folder:
                folder.pins.pop()

    def _key(self, path: str | Path) -> str:
        """The key in `_folders` of the folder that holds a file; "" outside of the store."""
        path = Path(path)
        return "/".join(path.relative_to(self.root).parts[:2]) if path.is_relative_to(self.root) else ""

    def delete_expired(self) -> None:
        """Deletes expired folders that no answer reads."""
        with self._lock:
            for folder in list(self._folders.values()):
                if self._is_expired(folder) and not folder.pins:
                    self._delete(folder)

    def _is_expired(self, folder: StoredFolder) -> bool:
        return time.monotonic() - folder.finished_at >= self.keep_seconds

    def _delete(self, folder: StoredFolder) -> None:
        with self._lock:
            self._folders.pop(self._key(folder.path), None)
        shutil.rmtree(folder.path, ignore_errors=True)

    def add_copy(self, path: Path, owner: str = "") -> str:
        """Copies a file into a folder of its own, as a result; returns the copy's path."""
        with self.create_folder(ANSWERS, owner) as folder:
            self.reserve(folder, path.stat().st_size)
            return shutil.copyfile(path, folder.path / path.name).__fspath__()

    def add_examples(self, source: Path) -> list[Path]:
        """Copies the example videos (mp4) of a folder into the store, as public files; returns the copies' paths."""
        self.open()
        (self.root / EXAMPLES).mkdir(exist_ok=True)
        copies = []
        for path in sorted(source.glob("*.mp4")):
            copies.append(self.root / EXAMPLES / path.name)
            if not copies[-1].exists():
                shutil.copyfile(path, copies[-1])
        return copies

    def mark_public(self) -> None:
        """Marks the files that Gradio has written so far, its own assets, as public."""
        self.open()
        self._public |= {path.name for path in self.untracked()}

    def delete_untracked(self) -> None:
        """Deletes the files that Gradio has written since: those sent as text to MCP, which it stores and uploads."""
        for path in self.untracked():
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def untracked(self) -> list[Path]:
        """The files and folders in the root that are neither the store's nor public."""
        tracked = {UPLOADS, ANSWERS, EXAMPLES, LOCK} | self._public
        return [path for path in self.root.iterdir() if path.name not in tracked] if self.root.exists() else []


def _is_abandoned(root: Path) -> bool:
    """True for the root of a page whose process has ended: its lock is free. False for the pages of other users."""
    try:
        if not (root / LOCK).is_file():
            return False
        with FileLock(root / LOCK).acquire(timeout=0):
            return True
    except (Timeout, OSError):
        return False


FILES = FileStore(ROOT)  # one per process, like Gradio's own folder


def publish_copy(path: Path) -> str:
    """Copies a file into the store for the client of the current event; returns the copy's path."""
    return FILES.add_copy(path, client_address())
