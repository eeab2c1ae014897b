"""One decoding process, seen from its parent: started, asked with a deadline, killed.

WorkerError           internal: `file.py` and `hmdb.video.confinement` turn each into a VideoError
|-- NoDecoderError
|-- NoMemoryToStartError
|-- StartError
`-- UnansweredError
    |-- WorkerTimeoutError
    |-- OutOfMemoryError
    `-- WorkerCrashedError
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

import numpy as np

from hmdb.cancellation import check_cancelled
from hmdb.video.limits import Limits
from hmdb.video.protocol import (
    DECORD,
    Confinement,
    ProtocolError,
    Sink,
    Source,
    StreamInfo,
    read_into,
    read_message,
    write_message,
)

ROOT = Path(__file__).resolve().parents[2]
CANCELLATION_SECONDS = 0.25  # between two looks at the cancellation of the calling work
START_SECONDS = 60.0  # for a worker to load its libraries; no part of a video's time
# A worker's environment: enough to start Python, and none of the secrets of this process. It drops even that.
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT", "TEMP", "TMPDIR")
WORKER_VARIABLES = {
    "OPENBLAS_NUM_THREADS": "1",  # numpy need not reserve memory for threads
    "OMP_NUM_THREADS": "1",
    "DECORD_DUPLICATE_WARNING_THRESHOLD": "0",  # decord must not repeat frames silently
    "PYTHONUTF8": "1",
}


class WorkerError(Exception):
    """A worker gave no answer."""


class NoDecoderError(WorkerError):
    """PyAV cannot be loaded."""


class NoMemoryToStartError(WorkerError):
    """The memory limit is too small to load the decoders.

    Attributes:
        needed_mb: address space that a worker needs for a small video, in MiB.
    """

    def __init__(self, needed_mb: int) -> None:
        super().__init__(f"a worker needs {needed_mb} MiB")
        self.needed_mb = needed_mb


class StartError(WorkerError):
    """The worker did not start."""


class UnansweredError(WorkerError):
    """The worker gave no answer about a video, and is dead.

    Attributes:
        decoder: the one at work; empty where none had begun.
        seconds_left: of the request's time.
    """

    def __init__(self, message: str, *, decoder: str = "", seconds_left: float = 0.0) -> None:
        super().__init__(message)
        self.decoder = decoder
        self.seconds_left = seconds_left


class WorkerTimeoutError(UnansweredError):
    """The worker exceeded the deadline, and was killed."""


class OutOfMemoryError(UnansweredError):
    """The worker has no memory left."""


class WorkerCrashedError(UnansweredError):
    """The worker died, or its answer was invalid."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WorkerReply:
    """A worker's answer: `info` with the frames or seconds that were requested, or the reason of a refusal.

    Attributes:
        info: None where the file is refused.
        pixels: uint8 (N, H, W, 3); None where the file has another number of frames than was expected, or only
            seconds were requested.
        seconds: N of them; None without a clock.
        refusal, numbers: the reason, and numbers that belong to it.
        detail: the technical cause.
        short_of_memory: damage may be a lack of memory, as the worker has read other files and used over half of
            its memory.
        seconds_left: of the request's time.
    """

    info: StreamInfo | None = None
    pixels: np.ndarray | None = None
    seconds: tuple[float, ...] | None = None
    refusal: str = ""
    numbers: tuple[int, ...] = ()
    detail: str = ""
    short_of_memory: bool = False
    seconds_left: float = 0.0


class WorkerProcess:
    """A decoding process, used by one thread at a time."""

    module: ClassVar[str] = "hmdb.video.worker"  # that it runs

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.num_requests = 0
        self.confinement: Confinement | None = None  # once it has started
        self._read_files: set[object] = set()  # identities
        inherited: tuple[int, ...] = ()
        self._file_socket: socket.socket | None = None
        if sys.platform != "win32":
            self._file_socket, theirs = socket.socketpair()
            inherited = (theirs.fileno(),)
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PATH": os.defpath}  # decord cannot be imported without one
        environment |= {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
            [sys.executable, "-P", "-m", self.module, json.dumps(asdict(limits)), *map(str, inherited)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment | WORKER_VARIABLES | {"PYTHONPATH": os.pathsep.join(paths)},
            pass_fds=inherited,
        )
        if inherited:
            theirs.close()
        self._requests, self._replies = cast("Sink", self._process.stdin), cast("Source", self._process.stdout)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], file: BinaryIO, seconds: float) -> WorkerReply:
        """Sends a request about an open file, once the worker has started, and waits for the reply.

        Args:
            seconds: time limit. decord may take half of the time that is left when it begins.

        Raises:
            WorkerError: there is no answer, and the worker is dead.
            StoppedError: the calling work was cancelled, and the worker is dead.
        """
        self.wait_ready()
        self.num_requests += 1
        self._read_files.add(request["identity"])
        with self._deadline(seconds) as deadline:
            self._send_file(request, file)
            reply = self._receive(len(request["indices"]), deadline.start_decoder)
        if reply.refusal == "memory":
            self.kill()
            raise OutOfMemoryError(reply.detail, decoder=deadline.decoder, seconds_left=deadline.seconds_left)
        return replace(reply, short_of_memory=self._short_of_memory, seconds_left=deadline.seconds_left)

    @property
    def _short_of_memory(self) -> bool:
        limit = self.confinement.memory_mb if self.confinement else 0
        return len(self._read_files) > 1 and 0 < limit < 2 * self._peak_mb()

    def _peak_mb(self) -> float:
        """Returns the largest address space that the worker has had, in MiB; infinity if that is unknown."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        except OSError:
            return math.inf
        peak = re.search(r"^VmPeak:\s*(\d+) kB$", status, re.MULTILINE)
        return int(peak[1]) / 1024 if peak else math.inf

    def wait_ready(self) -> Confinement:
        """Waits until the worker has started; returns its confinement.

        Raises:
            WorkerError: it does not start, and is dead.
        """
        if self.confinement is None:
            try:
                with self._deadline(START_SECONDS):
                    self.confinement = self._receive_hello()
            except UnansweredError as error:
                raise StartError(str(error)) from error
        return self.confinement

    @contextlib.contextmanager
    def _deadline(self, seconds: float) -> Iterator[_Deadline]:
        """Kills the worker if the body fails or takes too long."""
        deadline = _Deadline(seconds, self._process.kill)
        try:
            yield deadline
        except BaseException as error:
            deadline.cancel()
            self.kill()
            state: dict[str, Any] = {"decoder": deadline.decoder, "seconds_left": deadline.seconds_left}
            if not isinstance(error, ProtocolError | OSError):
                raise
            if deadline.expired:
                raise WorkerTimeoutError(f"no answer in {seconds:g} s", **state) from error
            raise WorkerCrashedError(f"{error} (exit status {self._process.returncode})", **state) from error
        finally:
            deadline.cancel()

    def _send_file(self, request: Mapping[str, Any], file: BinaryIO) -> None:
        if self._file_socket is None:
            request = {**request, "path": file.name}
        else:
            socket.send_fds(self._file_socket, [b"f"], [file.fileno()])
        write_message(self._requests, request)

    def _next_message(self) -> dict[str, Any]:
        """Waits for a message, or until the calling work is cancelled; Windows cannot watch pipes."""
        pipe = cast("BinaryIO", self._process.stdout)
        while sys.platform != "win32" and not select.select([pipe], [], [], CANCELLATION_SECONDS)[0]:
            check_cancelled()
        return read_message(self._replies)

    def _receive_hello(self) -> Confinement:
        hello = read_message(self._replies)
        if "missing" in hello:
            raise NoDecoderError(str(hello["missing"]))
        if isinstance(hello.get("needed_mb"), int):
            raise NoMemoryToStartError(hello["needed_mb"])
        if not isinstance(hello.get("confinement"), dict):
            raise ProtocolError("an invalid hello")
        return Confinement.checked(hello["confinement"])

    def _receive(self, num_frames: int, on_decoder: Callable[[str], object]) -> WorkerReply:
        while "decoder" in (message := self._next_message()):
            on_decoder(str(message["decoder"]))
        if "refusal" in message:
            numbers = tuple(number for number in message.get("numbers", ()) if isinstance(number, int))
            return WorkerReply(refusal=str(message["refusal"]), numbers=numbers, detail=str(message.get("detail", "")))
        if not isinstance(message.get("info"), dict):
            raise ProtocolError("an answer without stream info")
        info = StreamInfo.checked(message["info"], self.limits)
        seconds = message.get("seconds")
        if seconds is not None:
            try:
                seconds = tuple(float(second) for second in seconds)
            except (TypeError, ValueError) as error:
                raise ProtocolError("invalid seconds") from error
            if len(seconds) != num_frames or not np.isfinite(seconds).all():
                raise ProtocolError("implausible seconds")
        if "frames" not in message:
            return WorkerReply(info=info, seconds=seconds)
        if message["frames"] != num_frames:
            raise ProtocolError("another number of frames than was requested")
        shape = (num_frames, info.height, info.width, 3)
        pixels = np.frombuffer(_allocate_pages(math.prod(shape)), np.uint8).reshape(shape)
        read_into(self._replies, pixels.data.cast("B"))
        return WorkerReply(info=info, pixels=pixels, seconds=seconds)

    def kill(self) -> None:
        self._process.kill()
        self.close_pipes()
        self._process.wait()

    def close_pipes(self) -> None:
        """Closes this end of the pipes; the worker exits when no process holds it open."""
        for pipe in (self._process.stdin, self._process.stdout, self._file_socket):
            if pipe is not None:
                pipe.close()


class _Deadline:
    """Calls `expire` when a request has taken too long. decord gets only half of the time that is left, so that
    PyAV can try after it.
    """

    def __init__(self, seconds: float, expire: Callable[[], object]) -> None:
        self.decoder = ""
        self.expired = False
        self._expire = expire
        self._end = time.monotonic() + seconds
        self._timer = self._start_timer(seconds)

    @property
    def seconds_left(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    def start_decoder(self, decoder: str) -> None:
        """Restarts the timer for the decoder that begins."""
        self.decoder = decoder
        self._timer.cancel()
        self._timer = self._start_timer(self.seconds_left / 2 if decoder == DECORD else self.seconds_left)

    def cancel(self) -> None:
        self._timer.cancel()

    def _start_timer(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._run_out)
        timer.daemon = True
        timer.start()
        return timer

    def _run_out(self) -> None:
        self.expired = True
        self._expire()


def _allocate_pages(size: int) -> mmap.mmap:
    """Allocates memory that returns to the system with its array; malloc keeps some for every thread."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
