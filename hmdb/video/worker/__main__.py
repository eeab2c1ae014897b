"""The decoding process: requests on stdin, files on a socket, replies on stdout.
`python -m hmdb.video.worker LIMITS SOCKET`

It decodes files that may be hostile, so it holds no secret and has few rights: no torch, no environment, bounded memory
and processor time, and only what `sandbox.py` leaves it. It ends with its parent, however that ends.
"""

from __future__ import annotations

import array  # noqa: F401 - socket.recv_fds imports it, which the sandbox no longer allows then
import contextlib
import gc
import io
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from hmdb.video.limits import Limits
from hmdb.video.protocol import DECORD, PYAV, Confinement, ProtocolError, Sink, read_message, write_all, write_message
from hmdb.video.sniff import Container
from hmdb.video.worker.decoders import DecoderUnsuitableError, Reader, decord_works, load_pyav
from hmdb.video.worker.decord_reader import DecordReader
from hmdb.video.worker.demux import OUT_OF_MEMORY, UnsupportedVideoError
from hmdb.video.worker.pyav_reader import PyAVReader
from hmdb.video.worker.sandbox import confine
from hmdb.video.worker.scan import scan

CPU_FACTOR = 4  # processor seconds for each second of a request's deadline: a few threads
IDLE = 30  # seconds after which the last file is closed
MIN_ROOM_MB = 32  # beyond the libraries: a small video needs it
ORPHAN_CHECK = 5_000  # milliseconds between checks of the parent's pid


def main() -> None:
    limits = Limits(**json.loads(sys.argv[1]))
    files = None if sys.platform == "win32" else socket.socket(fileno=int(sys.argv[2]))
    requests, replies = io.FileIO(0, closefd=False), io.FileIO(os.dup(1), "w")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    server = _Server(limits, _StderrWatch(), replies)
    try:
        load_pyav()
    except (ImportError, OSError) as error:
        write_message(replies, {"missing": f"{error}"[:200]})
        return
    needed_mb = _address_space_mb() + MIN_ROOM_MB
    if needed_mb > limits.memory_mb:
        write_message(replies, {"needed_mb": needed_mb})
        return
    memory_mb = _limit_resources(limits)
    gc.freeze()  # collections then skip 28,000 objects of the libraries, which take 3 ms
    server.send_hello(confine(memory_mb=memory_mb))
    _end_with_parent()
    while True:
        if sys.platform != "win32" and not select.select([0], [], [], IDLE)[0]:
            server.close_file()
        try:
            request = read_message(requests)
        except ProtocolError:  # the parent has ended
            return
        _allow_processor_seconds(limits)
        with _receive_file(request, files) as file:
            server.answer(request, file)
        gc.collect()  # PyAV's containers and streams hold each other, and with them a decoder and its pictures


def _receive_file(request: Mapping[str, Any], files: socket.socket | None) -> _File:
    """Returns the file that comes with a request: as an open descriptor, where the system can send one."""
    if files is None:
        return _File(request["path"])
    _, (descriptor, *_), _, _ = socket.recv_fds(files, 1, 1)
    return _File(descriptor)


class _File(io.FileIO):
    """A file that stays open after its request while a reader needs it."""

    needed = False

    def __exit__(self, *exception: object) -> None:
        if not self.needed:
            self.close()


class _Server:
    """Answers requests. It keeps the last file open, as its frames are usually requested next."""

    def __init__(self, limits: Limits, stderr_watch: _StderrWatch, replies: Sink) -> None:
        self._limits = limits
        self._stderr_watch = stderr_watch
        self._replies = replies
        self._identity: object = None  # of the file that the reader reads
        self._file: _File | None = None
        self._reader: Reader | None = None
        self._decord = decord_works()

    def send_hello(self, confinement: Confinement) -> None:
        self._send({"confinement": vars(confinement)})

    def answer(self, request: Mapping[str, Any], file: _File) -> None:
        pictures: list[np.ndarray] = []
        try:
            message, pictures = self._answer(request, file)
        except UnsupportedVideoError as error:
            message = {"refusal": error.reason, "numbers": error.numbers}
        except OUT_OF_MEMORY as error:
            message = {"refusal": "memory", "detail": repr(error)}
        except Exception as error:
            message = {"refusal": "unreadable", "detail": f"{type(error).__name__}: {error}"[:500]}
        self._send(message)
        for picture in pictures:
            write_all(self._replies, np.ascontiguousarray(picture).data.cast("B"))

    def _answer(self, request: Mapping[str, Any], file: _File) -> tuple[dict[str, Any], list[np.ndarray]]:
        indices = request["indices"]
        reader = self._open(request, file)
        if not indices or reader.info.num_frames != request["num_frames"]:
            return {"info": vars(reader.info)}, []
        if not request["pixels"]:
            return {"info": vars(reader.info), "seconds": _all_or_none(map(reader.second, indices))}, []
        wanted = sorted(set(indices))
        try:
            found = reader.frames(wanted)
        except DecoderUnsuitableError:
            self.close_file(keep=file)
            reader = self._open({**request, "decord": False}, file)
            if reader.info.num_frames != request["num_frames"]:
                return {"info": vars(reader.info)}, []
            found = reader.frames(wanted)
        if len(found) < len(wanted):
            if reader.info.num_frames > wanted[-1]:
                raise UnsupportedVideoError("unreadable")
            return {"info": vars(reader.info)}, []
        seconds = _all_or_none(found[index][1] for index in indices)
        pictures = [found[index][0] for index in indices]
        return {"info": vars(reader.info), "seconds": seconds, "frames": len(pictures)}, pictures

    def _open(self, request: Mapping[str, Any], file: _File) -> Reader:
        use_decord, identity = request["decord"] and self._decord, request["identity"]
        if (
            self._reader is not None
            and self._identity == identity
            and (use_decord or self._reader.info.decoder == PYAV)
        ):
            self._report_decoder(self._reader.info.decoder)
            return self._reader
        self.close_file()  # before the next takes its memory
        self._report_decoder(PYAV)
        scanned = scan(file, Container(**request["container"]), self._limits)
        if use_decord and scanned.suits_decord:
            self._report_decoder(DECORD)
            with contextlib.suppress(DecoderUnsuitableError):
                self._reader = DecordReader(file, scanned, self._limits, self._stderr_watch)
        if self._reader is None:
            self._report_decoder(PYAV)
            failed = scanned.suits_decord and self._decord  # else decord would read it
            self._reader = PyAVReader(file, scanned, self._limits, suspect=failed)
        self._identity, self._file, file.needed = identity, file, True
        return self._reader

    def close_file(self, keep: _File | None = None) -> None:
        """Closes the last file, unless it is `keep`, and frees the memory of its frames."""
        self._identity = self._reader = None
        if self._file not in (None, keep):
            self._file.close()
        self._file = None

    def _report_decoder(self, decoder: str) -> None:
        """Names the decoder at work: if it is PyAV that fails, a second try is no use."""
        self._send({"decoder": decoder})

    def _send(self, message: Mapping[str, Any]) -> None:
        write_message(self._replies, message)


def _all_or_none(seconds: Iterable[float | None]) -> list[float] | None:
    values = list(seconds)
    known = [second for second in values if second is not None]
    return known if len(known) == len(values) else None


class _StderrWatch:
    """Redirects stderr, where FFmpeg and decord report damage that they report nowhere else."""

    def __init__(self) -> None:
        self._pipe: int | None = None
        if sys.platform == "win32":  # pipes always block there
            end = os.open(os.devnull, os.O_WRONLY)
        else:
            self._pipe, end = os.pipe()
            os.set_blocking(self._pipe, False)
            os.set_blocking(end, False)  # a full pipe loses lines and never blocks
        os.dup2(end, 1)
        os.dup2(end, 2)
        os.close(end)

    def __call__(self) -> bool:
        """Returns True if anything was written since the last call."""
        written = False
        with contextlib.suppress(BlockingIOError):
            while self._pipe is not None and os.read(self._pipe, 2**16):
                written = True
        return written


def _end_with_parent() -> None:
    """Exits when stdin is closed, which is when the parent ends. A thread waits for it, as the main one may hang.
    (PR_SET_PDEATHSIG would follow the thread that started this process, and the app's threads come and go.)
    """
    if not hasattr(select, "poll"):
        return
    parent = os.getppid()

    def wait() -> None:
        poll = select.poll()
        poll.register(0, 0)  # hang-ups only
        while not poll.poll(ORPHAN_CHECK) and os.getppid() == parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _address_space_mb() -> int:
    """Returns the address space of this process in MiB; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (OSError, ValueError):
        return 0


def _limit_resources(limits: Limits) -> int:
    """Limits memory, file sizes and core dumps; returns the memory limit in MiB, or 0 if there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    memory = limits.memory_mb * 2**20
    for kind, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY or value < hard:
            with contextlib.suppress(ValueError, OSError):  # macOS knows some limits by name only
                resource.setrlimit(kind, (value, value))
    bound = resource.getrlimit(resource.RLIMIT_AS)[0]
    return 0 if bound == resource.RLIM_INFINITY else bound // 2**20


def _allow_processor_seconds(limits: Limits) -> None:
    """Limits processor time, which ends a loop even if the parent, which would have killed it, is gone."""
    try:
        import resource
    except ImportError:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(usage.ru_utime + usage.ru_stime + CPU_FACTOR * limits.seconds) + 2
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or seconds < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))


if __name__ == "__main__":
    main()
