"""The page's folder: what visitors send, and what answers are made of.

Each upload and each answer has a parcel: a folder with a name that nobody can guess, told only to the one who is
concerned. Its files are named to visitors by their path within the page's folder. They are served, and uploads are
taken as videos, until their time is over. All parcels together keep to a budget.
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
MAX_UNFINISHED_SHARE = (
    1 / 4
)  # of the room on the disk, which several uploads of one owner may take before they are complete


class StorageFullError(HmdbError):
    """There is no room on the disk for one more file."""


class AddressQuotaError(HmdbError):
    """One address uploads more at a time than it may."""


@dataclass(eq=False)
class StoredFolder:
    """A folder of one upload or answer.

    Attributes:
        owner: whose it is: an address, or "" where that is not known.
        size: bytes that are set aside for it.
        finished: when it was complete, by the monotonic clock; infinity until then.
        readers: one entry for each answer that is under way and reads it.
    """

    path: Path
    owner: str
    size: int = 0
    finished: float = float("inf")
    readers: list[None] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.finished < float("inf")


def disk_usage(folder: Path) -> int:
    """Bytes that a folder takes, in whole blocks: of many small files that is far more than they hold."""
    return sum(each.stat().st_blocks for each in (folder, *folder.rglob("*"))) * 512  # st_blocks's unit


@dataclass(eq=False)
class FileStore:
    """The parcels of this process. Threads may share it.

    Attributes:
        root: the folder of all of them.
        budget: bytes on the disk that they may take.
        keep_seconds: until a finished one is deleted.
    """

    root: Path
    budget: int = 2**31
    keep_seconds: float = 3600.0
    _parcels: dict[str, StoredFolder] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _held: FileLock | None = None
    _gradios: set[str] = field(default_factory=set)

    def open(self) -> None:
        """Makes the folder, and deletes those of pages that ended without doing so."""
        with self._lock:
            if self._held:
                return
            self.root.mkdir(parents=True, exist_ok=True)  # or Gradio was first
            self.root.chmod(0o700)
            self._held = FileLock(self.root / LOCK)
            self._held.acquire(timeout=0)
            atexit.register(self._close_in, os.getpid())
        for other in self.root.parent.glob(f"{PREFIX}*"):
            if other != self.root and _is_abandoned(other):
                shutil.rmtree(other, ignore_errors=True)

    def close(self) -> None:
        """Deletes the folder with all that is in it."""
        with self._lock:
            self._parcels.clear()
            shutil.rmtree(self.root, ignore_errors=True)
            if self._held:
                self._held.release()
                self._held = None

    def _close_in(self, pid: int) -> None:
        if os.getpid() == pid:  # no forked child
            self.close()

    @property
    def used(self) -> int:
        """Bytes that are set aside."""
        with self._lock:
            return sum(parcel.size for parcel in self._parcels.values())

    @contextmanager
    def parcel(self, kind: str, owner: str = "") -> Iterator[StoredFolder]:
        """A new folder. It is kept once this is left in peace, and deleted at once if not."""
        self.open()
        token = secrets.token_urlsafe(24)
        parcel = StoredFolder(self.root / kind / token, owner)
        parcel.path.mkdir(mode=0o700, parents=True)
        with self._lock:
            self._parcels[f"{kind}/{token}"] = parcel
        try:
            yield parcel
        except BaseException:
            self._delete(parcel)
            raise
        parcel.finished = time.monotonic()

    @contextmanager
    def passing(self, owner: str) -> Iterator[StoredFolder]:
        """A new folder for what arrives and is done with after this."""
        with self.parcel(UPLOADS, owner) as parcel:
            try:
                yield parcel
            finally:
                self._delete(parcel)

    def reserve(self, parcel: StoredFolder, count: int) -> None:
        """Sets bytes aside for a parcel. The oldest finished ones make room, first those of whoever holds most.

        Raises:
            FullError: there is none.
        """
        with self._lock:
            while self.used + count > self.budget:
                victim = self._oldest_of_the_largest_owner()
                if victim is None:
                    raise StorageFullError(
                        "The page has no room for more files at the moment. Try again in a few minutes."
                    )
                self._delete(victim)
            parcel.size += count

    def receive(self, parcel: StoredFolder, count: int) -> None:
        """Sets bytes aside for an upload as they come. Unfinished ones make no room, so they have to leave some.

        Raises:
            GreedyError: those of one owner leave too little.
            FullError: there is none.
        """
        with self._lock:
            parcels = self._parcels.values()
            owns = sum(each.size for each in parcels if each.owner == parcel.owner and not each.done)
            if owns > parcel.size and owns + count > MAX_UNFINISHED_SHARE * self.budget:
                words = "Too much is being uploaded from your address. Try again when some of it has arrived."
                raise AddressQuotaError(words)
            self.reserve(parcel, count)

    def _oldest_of_the_largest_owner(self) -> StoredFolder | None:
        held: dict[str, int] = {}
        for parcel in self._parcels.values():
            held[parcel.owner] = held.get(parcel.owner, 0) + parcel.size
        done = [each for each in self._parcels.values() if each.done and not each.readers]
        return min(done, key=lambda each: (-held[each.owner], each.finished), default=None)

    def name_of(self, path: str | Path) -> str:
        """The name by which clients know a file: its path within the store."""
        return str(Path(path).relative_to(self.root))

    def find(self, name: str, *kinds: str) -> Path | None:
        """The file that a visitor knows by this name; None unless it is a plain file, in a finished parcel of one
        of these kinds whose time is not over, or for everybody.
        """
        path = self.root / name
        if not is_plain(name) or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
            return None
        kind, _, rest = name.partition("/")
        if kind not in (*kinds, EXAMPLES, *self._gradios):
            return None
        if kind in kinds:
            with self._lock:
                parcel = self._parcels.get(f"{kind}/{rest.partition('/')[0]}")
            if parcel is None or time.monotonic() - parcel.finished >= self.keep_seconds or not parcel.done:
                return None
        try:
            status = path.lstat()
            plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and path.resolve(strict=True) == path
        except OSError:
            return None
        return path if plain else None

    @contextmanager
    def reading(self, path: str | Path) -> Iterator[None]:
        """Keeps the parcel of a file while an answer is made of it.

        Leaving takes no lock: the garbage collector may end the answer in the midst of anything.
        """
        with self._lock:
            parcel = self._parcels.get("/".join(self._parts(path)[:2]))
            if parcel:
                parcel.readers.append(None)
        try:
            yield
        finally:
            if parcel:
                parcel.readers.pop()

    def _parts(self, path: str | Path) -> tuple[str, ...]:
        path = Path(path)
        return path.relative_to(self.root).parts if path.is_relative_to(self.root) else ()

    def sweep(self) -> None:
        """Deletes what is older than it may be."""
        with self._lock:
            for parcel in list(self._parcels.values()):
                if time.monotonic() - parcel.finished >= self.keep_seconds and not parcel.readers:
                    self._delete(parcel)

    def _delete(self, parcel: StoredFolder) -> None:
        with self._lock:
            self._parcels.pop("/".join(self._parts(parcel.path)), None)
        shutil.rmtree(parcel.path, ignore_errors=True)

    def keep(self, path: Path, owner: str = "") -> str:
        """A copy of a file in a parcel of its own, for an answer."""
        with self.parcel(ANSWERS, owner) as parcel:
            self.reserve(parcel, path.stat().st_size)
            return shutil.copyfile(path, parcel.path / path.name).__fspath__()

    def examples(self, folder: Path) -> list[Path]:
        """Copies of the example videos in a folder, which are for everybody."""
        self.open()
        (self.root / EXAMPLES).mkdir(exist_ok=True)
        copies = []
        for path in sorted(folder.glob("*.mp4")):
            copies.append(self.root / EXAMPLES / path.name)
            if not copies[-1].exists():
                shutil.copyfile(path, copies[-1])
        return copies

    def settle(self) -> None:
        """What Gradio has written so far belongs to the page, and so is for everybody."""
        self.open()
        self._gradios |= {path.name for path in self._not_ours()}

    def delete_untracked(self) -> None:
        """Deletes what Gradio has left since: files that came as text to MCP, written down and then uploaded."""
        for path in self._not_ours():
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _not_ours(self) -> list[Path]:
        known = {UPLOADS, ANSWERS, EXAMPLES, LOCK} | self._gradios
        return [path for path in self.root.iterdir() if path.name not in known] if self.root.exists() else []


def _is_abandoned(folder: Path) -> bool:
    """Whether nobody holds the lock of a page's folder."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK).acquire(timeout=0):
            return True
    except (Timeout, OSError):
        return False


FILES = FileStore(ROOT)  # one in a process, as Gradio's folder is


def publish_copy(path: Path) -> str:
    """A copy of a file where visitors get it from."""
    return FILES.keep(path, client_address())
