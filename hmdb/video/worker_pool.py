"""Workers from outside: started, given a deadline, killed and replaced."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import mmap
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar

import numpy as np

from hmdb.cancellation import check_cancelled
from hmdb.video.limits import Limits
from hmdb.video.protocol import DECORD, ProtocolError, StreamInfo, encode_message, read_message
from hmdb.video.worker.sandbox import Confinement

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0  # for a worker to load its libraries, which no video is to blame for
# A worker's environment: enough to start Python, and none of the secrets of this process. It drops even that.
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT", "TEMP", "TMPDIR")
WORKER_VARIABLES = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy need not reserve memory for threads
    "OMP_NUM_THREADS": "1",
    "DECORD_DUPLICATE_WARNING_THRESHOLD": "0",  # decord shall not repeat frames in silence
    "PYTHONUTF8": "1",
}


class WorkerError(Exception):
    """A worker gave no answer."""


class NoDecoderError(WorkerError):
    """It has nothing to decode with, whatever the video."""


class StartError(WorkerError):
    """It did not start, whatever the video."""


class UnansweredError(WorkerError):
    """It gave no answer about a video, and is dead.

    Attributes:
        trying: the decoder that was at work; empty where the worker did not come to say.
        seconds_left: of those that the request had.
    """

    def __init__(self, what: str, *, trying: str = "", seconds_left: float = 0.0) -> None:
        super().__init__(what)
        self.trying = trying
        self.seconds_left = seconds_left


class WorkerTimeoutError(UnansweredError):
    """It took longer than it may, and was killed."""


class OutOfMemoryError(UnansweredError):
    """It has no memory left."""


class WorkerCrashedError(UnansweredError):
    """It died, or answered what cannot be."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkerReply:
    """What a worker answered: `facts` and, where frames or their seconds were asked for, those; or why it refuses.

    Attributes:
        facts: None where the file is refused.
        pixels: uint8 (N, H, W, 3); None where the number of frames is not the one that was expected, or only
            seconds were asked for.
        seconds: N of them, or None without a clock.
        refused, numbers: a reason, and numbers that belong to it.
        detail: the technical cause.
    """

    facts: StreamInfo | None = None
    pixels: np.ndarray | None = None
    seconds: tuple[float, ...] | None = None
    refused: str = ""
    numbers: tuple[int, ...] = ()
    detail: str = ""


class WorkerProcess:
    """One decoding process, used by one thread at a time."""

    module: ClassVar[str] = "hmdb.video.worker"  # that it runs

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.num_requests = 0
        self.confinement: Confinement | None = None  # what it says of itself, once it has started
        handed: tuple[int, ...] = ()
        self._files: socket.socket | None = None
        if sys.platform != "win32":
            self._files, theirs = socket.socketpair()
            handed = (theirs.fileno(),)
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PATH": os.defpath}  # decord cannot be imported without one
        environment |= {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-P", "-m", self.module, json.dumps(asdict(limits)), *map(str, handed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment | WORKER_VARIABLES | {"PYTHONPATH": os.pathsep.join(paths)},
            pass_fds=handed,
        )
        if handed:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], file: BinaryIO, seconds: float) -> WorkerReply:
        """Puts a request about an open file, once the worker has started, and waits for the answer.

        Args:
            seconds: that it may take. decord may take half of those that are left when it begins.

        Raises:
            WorkerError: there is none; the worker is dead.
        """
        self.greeted()
        self.num_requests += 1
        with self._deadline(seconds) as deadline:
            self._send_file(request, file)
            answer = self._answer(len(request["indices"]), deadline.hear)
        if answer.refused == "memory":
            self.kill()
            raise OutOfMemoryError(answer.detail, trying=deadline.trying, seconds_left=deadline.seconds_left)
        return answer

    def greeted(self) -> Confinement:
        """What it has given up, once it has started.

        Raises:
            WorkerError: it does not start; it is dead.
        """
        if self.confinement is None:
            try:
                with self._deadline(START_SECONDS):
                    self.confinement = self._greeting()
            except UnansweredError as error:
                raise StartError(str(error)) from error
        return self.confinement

    @contextlib.contextmanager
    def _deadline(self, seconds: float) -> Iterator[_Deadline]:
        """Kills the worker where what is done within fails or takes too long."""
        deadline = _Deadline(seconds, self._process.kill)
        try:
            yield deadline
        except BaseException as error:
            deadline.cancel()
            self.kill()
            about: dict[str, Any] = {"trying": deadline.trying, "seconds_left": deadline.seconds_left}
            if not isinstance(error, ProtocolError | OSError):
                raise
            if deadline.expired:
                raise WorkerTimeoutError(f"no answer in time, of {seconds:g} s", **about) from error
            raise WorkerCrashedError(f"{error} (exit status {self._process.returncode})", **about) from error
        finally:
            deadline.cancel()

    def _send_file(self, request: Mapping[str, Any], file: BinaryIO) -> None:
        if self._files is None:
            request = {**request, "path": file.name}
        else:
            socket.send_fds(self._files, [b"f"], [file.fileno()])
        self._write(encode_message(request))

    def _greeting(self) -> Confinement:
        greeting = read_message(self._read)
        if "missing" in greeting:
            raise NoDecoderError(str(greeting["missing"]))
        try:
            return Confinement.checked(greeting["confinement"])
        except (KeyError, ValueError) as error:
            raise ProtocolError("no greeting") from error

    def _answer(self, num_wanted: int, tell: Callable[[str], object]) -> WorkerReply:
        while "trying" in (message := read_message(self._read)):
            tell(str(message["trying"]))
        if "refused" in message:
            numbers = tuple(number for number in message.get("numbers", ()) if isinstance(number, int))
            return WorkerReply(refused=str(message["refused"]), numbers=numbers, detail=str(message.get("detail", "")))
        if not isinstance(message.get("facts"), dict):
            raise ProtocolError("an answer without facts")
        facts = StreamInfo.checked(message["facts"], self.limits)
        seconds = message.get("seconds")
        if seconds is not None:
            try:
                seconds = tuple(float(second) for second in seconds)
            except (TypeError, ValueError) as error:
                raise ProtocolError("seconds that are no numbers") from error
            if len(seconds) != num_wanted or not np.isfinite(seconds).all():
                raise ProtocolError("seconds that cannot be true")
        if "frames" not in message:
            return WorkerReply(facts=facts, seconds=seconds)
        if message["frames"] != num_wanted:
            raise ProtocolError("another number of frames than was asked for")
        shape = (num_wanted, facts.height, facts.width, 3)
        pixels = np.frombuffer(_pages(math.prod(shape)), np.uint8).reshape(shape)
        self._read_into(pixels.data.cast("B"))
        return WorkerReply(facts=facts, pixels=pixels, seconds=seconds)

    def _read(self, size: int) -> bytes:
        data = bytearray(size)
        self._read_into(memoryview(data))
        return bytes(data)

    def _read_into(self, rest: memoryview) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        while rest:
            count = self._process.stdout.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise ProtocolError("the worker has ended")
            rest = rest[count:]

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101
        rest = memoryview(data)
        while rest:
            rest = rest[self._process.stdin.write(rest) :]

    def kill(self) -> None:
        self._process.kill()
        self.let_go()
        self._process.wait()

    def let_go(self) -> None:
        """Closes the pipes, upon which the worker ends by itself."""
        for pipe in (self._process.stdin, self._process.stdout, self._files):
            if pipe is not None:
                pipe.close()


class _Deadline:
    """Calls `expire` once a request has taken too long; decord may take only half of the time, for PyAV is next."""

    def __init__(self, seconds: float, expire: Callable[[], object]) -> None:
        self.trying = ""
        self.expired = False
        self._expire = expire
        self._end = time.monotonic() + seconds
        self._timer = self._started(seconds)

    @property
    def seconds_left(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    def hear(self, decoder: str) -> None:
        """Takes note of the decoder that begins."""
        self.trying = decoder
        self._timer.cancel()
        self._timer = self._started(self.seconds_left / 2 if decoder == DECORD else self.seconds_left)

    def cancel(self) -> None:
        self._timer.cancel()

    def _started(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._run_out)
        timer.daemon = True
        timer.start()
        return timer

    def _run_out(self) -> None:
        self.expired = True
        self._expire()


def _pages(size: int) -> mmap.mmap:
    """Memory that goes back to the system with the array on it; malloc keeps some for every thread."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class Pool:
    """The workers of this process, of one kind. Threads may share it."""

    def __init__(self, kind: type[WorkerProcess] = WorkerProcess) -> None:
        self._kind = kind
        self._changed = threading.Condition()
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._num_busy = 0
        self._confinement: Confinement | None = None

    def ask(
        self, request: Mapping[str, Any], file: BinaryIO, limits: Limits, *, seconds: float, fresh: bool = False
    ) -> WorkerReply:
        """Puts a request about an open file to a worker, once one is free.

        Args:
            seconds: as in `WorkerProcess.ask`.
            fresh: to a worker that has read nothing yet.

        Raises:
            WorkerError: there is no answer.
            StoppedError: whoever waits for it has told it to stop.
        """
        check_cancelled()
        return self._with_worker(limits, lambda worker: worker.ask(request, file, seconds), fresh=fresh)

    def confinement(self, limits: Limits) -> Confinement:
        """What the workers of this process have given up. Only the first call may have to start one.

        Raises:
            WorkerError: none can be started.
        """
        if self._confinement is None:
            self._with_worker(limits, lambda worker: worker.greeted())
        assert self._confinement is not None  # noqa: S101 - a worker that started has told
        return self._confinement

    def _with_worker(self, limits: Limits, work: Callable[[WorkerProcess], T], *, fresh: bool = False) -> T:
        worker = self._take(limits, fresh=fresh)
        try:
            done = work(worker)
        except BaseException:
            self._give_back(worker, usable=False)
            raise
        self._confinement = worker.confinement
        self._give_back(worker, usable=worker.num_requests < limits.requests)
        return done

    def prepare(self, limits: Limits) -> None:
        """Starts a worker where there is none, and does not wait until it is ready."""
        if not self.workers():
            self._give_back(self._take(limits), usable=True)

    def _take(self, limits: Limits, *, fresh: bool = False) -> WorkerProcess:
        with self._changed:
            while self._num_busy >= limits.workers:
                self._changed.wait()
            self._num_busy += 1
            worker = self._idle.pop() if self._idle else None
        try:
            unfit = worker is not None and (worker.limits != limits or not worker.alive)
            if worker is not None and (unfit or (fresh and worker.num_requests)):
                worker.kill()
                worker = None
            worker = worker or self._kind(limits)
        except BaseException:
            self._release()
            raise
        with self._changed:
            self._busy.add(worker)
        return worker

    def _give_back(self, worker: WorkerProcess, *, usable: bool) -> None:
        with self._changed:
            self._busy.discard(worker)
            if usable:
                self._idle.append(worker)
        if not usable:
            worker.kill()
        self._release()

    def _release(self) -> None:
        with self._changed:
            self._num_busy -= 1
            self._changed.notify()

    def workers(self) -> Sequence[WorkerProcess]:
        with self._changed:
            return [*self._idle, *self._busy]

    def close(self) -> None:
        """Ends all workers."""
        for worker in self.workers():
            worker.kill()
        with self._changed:
            self._idle.clear()


_pool = Pool()
_inherited: list[Sequence[WorkerProcess]] = []


def default_pool() -> Pool:
    return _pool


def _after_fork() -> None:
    """A forked child, as a data loader's, has workers of its own, and lets go of its parent's: they end
    when the last pipe to them is closed.
    """
    global _pool
    inherited = [*_pool._idle, *_pool._busy]
    for worker in inherited:
        worker.let_go()
    _inherited.append(inherited)  # or Popen would wait for processes that are no children of this one
    _pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _close() -> None:
    default_pool().close()
