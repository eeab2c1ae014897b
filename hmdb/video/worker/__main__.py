"""The decoding process: requests on stdin, files on a socket, answers on stdout.
`python -m hmdb.video.worker LIMITS SOCKET`

It decodes what may be hostile, so it holds nothing worth taking and has little room: no torch, no
environment, bounded memory and processor time, and nothing but what `sandbox.py` leaves it. It ends with
its parent, however that ends.
"""

from __future__ import annotations

import array  # noqa: F401 - socket.recv_fds imports it, and can no more by then
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
from typing import Any, BinaryIO

import numpy as np

from hmdb.video.limits import Limits
from hmdb.video.protocol import DECORD, PYAV, ProtocolError, encode_message, read_message
from hmdb.video.sniff import Container
from hmdb.video.worker.decoders import DecoderUnsuitableError, DecordReader, PyAVReader, Reader, decord_works, load_pyav
from hmdb.video.worker.sandbox import Confinement, confine
from hmdb.video.worker.scan import OUT_OF_MEMORY, UnsupportedVideoError, scan

CPU_FACTOR = 4  # processor seconds for each second of a request's deadline: a few threads
IDLE = 30  # seconds after which the last file is closed
ORPHAN_CHECK = 5_000  # milliseconds between looks at who the parent is


def main() -> None:
    limits = Limits(**json.loads(sys.argv[1]))
    files = None if sys.platform == "win32" else socket.socket(fileno=int(sys.argv[2]))
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    complaints = _StderrWatch()
    memory_mb = _limit(limits)
    server = _Server(limits, complaints, answers)
    try:
        load_pyav()
    except (ImportError, OSError) as error:
        server.miss(f"{error}"[:200])
        return
    gc.freeze()  # collecting then looks at what videos leave behind alone, and not at 28,000 objects, for 3 ms
    server.greet(confine(memory_mb=memory_mb))
    _end_with_parent()
    while True:
        if sys.platform != "win32" and not select.select([0], [], [], IDLE)[0]:
            server.forget()
        try:
            request = read_message(lambda size: _read_exactly(requests, size))
        except ProtocolError:  # the parent has gone
            return
        _allow_processor_seconds(limits)
        with _file(request, files) as file:
            server.answer(request, file)
        gc.collect()  # containers and streams of PyAV hold each other, and with them a decoder and its pictures


def _file(request: Mapping[str, Any], files: socket.socket | None) -> _File:
    """The file that comes with a request: open already, where a system can hand that over."""
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
    """Answers requests; keeps the last file open, as frames are asked for after it was opened."""

    def __init__(self, limits: Limits, complaints: _StderrWatch, answers: BinaryIO) -> None:
        self._limits = limits
        self._complaints = complaints
        self._answers = answers
        self._key: tuple[object, ...] | None = None
        self._file: _File | None = None  # that the reader reads
        self._reader: Reader | None = None
        self._decord = decord_works()

    def greet(self, confinement: Confinement) -> None:
        self._send({"confinement": vars(confinement)})

    def miss(self, why: str) -> None:
        """Says that PyAV cannot be loaded, in place of a greeting."""
        self._send({"missing": why})

    def answer(self, request: Mapping[str, Any], file: _File) -> None:
        pictures: list[np.ndarray] = []
        try:
            message, pictures = self._answer(request, file)
        except UnsupportedVideoError as refused:
            message = {"refused": refused.reason, "numbers": refused.numbers}
        except OUT_OF_MEMORY as error:
            message = {"refused": "memory", "detail": repr(error)}
        except Exception as error:
            message = {"refused": "unreadable", "detail": f"{type(error).__name__}: {error}"[:500]}
        self._send(message)
        for picture in pictures:
            self._send_pixels(picture)

    def _answer(self, request: Mapping[str, Any], file: _File) -> tuple[dict[str, Any], list[np.ndarray]]:
        indices = request["indices"]
        current = self._open(request, file)
        if not indices or current.facts.num_frames != request["num_frames"]:
            return {"facts": vars(current.facts)}, []
        if not request["pixels"]:
            return {"facts": vars(current.facts), "seconds": _clock(map(current.second, indices))}, []
        wanted = sorted(set(indices))
        try:
            found = current.frames(wanted)
        except DecoderUnsuitableError:
            self.forget(keep=file)
            current = self._open({**request, "decord": False}, file)
            if current.facts.num_frames != request["num_frames"]:
                return {"facts": vars(current.facts)}, []
            found = current.frames(wanted)
        if len(found) < len(wanted):
            if current.facts.num_frames > wanted[-1]:
                raise UnsupportedVideoError("unreadable")
            return {"facts": vars(current.facts)}, []
        seconds = _clock(found[index][1] for index in indices)
        pictures = [found[index][0] for index in indices]
        return {"facts": vars(current.facts), "seconds": seconds, "frames": len(pictures)}, pictures

    def _open(self, request: Mapping[str, Any], file: _File) -> Reader:
        use_decord, key = request["decord"] and self._decord, request["identity"]
        if self._reader is not None and self._key == key and (use_decord or self._reader.facts.decoder == PYAV):
            self._tell(self._reader.facts.decoder)
            return self._reader
        self.forget()  # before the next takes its memory
        self._tell(PYAV)
        scanned = scan(file, Container(**request["container"]), self._limits)
        if use_decord and scanned.suits_decord:
            self._tell(DECORD)
            with contextlib.suppress(DecoderUnsuitableError):
                self._reader = DecordReader(file, scanned, self._limits, self._complaints)
        if self._reader is None:
            self._tell(PYAV)
            failed = scanned.suits_decord and self._decord  # else decord would read it
            self._reader = PyAVReader(file, scanned, self._limits, suspect=failed)
        self._key, self._file, file.needed = key, file, True
        return self._reader

    def forget(self, keep: _File | None = None) -> None:
        """Closes the last file, unless it is the one to keep, and gives back the memory of its frames."""
        self._key = self._reader = None
        if self._file not in (None, keep):
            self._file.close()
        self._file = None

    def _tell(self, decoder: str) -> None:
        """Who is at work: where PyAV fails, there is no use in a second try."""
        self._send({"trying": decoder})

    def _send(self, message: Mapping[str, Any]) -> None:
        self._write(encode_message(message))

    def _send_pixels(self, pixels: np.ndarray) -> None:
        self._write(np.ascontiguousarray(pixels).data.cast("B"))

    def _write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._answers.write(rest) :]


def _clock(seconds: Iterable[float | None]) -> list[float] | None:
    known = list(seconds)
    told = [second for second in known if second is not None]
    return told if len(told) == len(known) else None


class _StderrWatch:
    """What FFmpeg and decord write to stderr, as they tell of damage in no other way."""

    def __init__(self) -> None:
        self._pipe: int | None = None
        if sys.platform == "win32":  # no pipe there that would not block
            end = os.open(os.devnull, os.O_WRONLY)
        else:
            self._pipe, end = os.pipe()
            os.set_blocking(self._pipe, False)
            os.set_blocking(end, False)  # a full pipe loses lines, and stops nobody
        os.dup2(end, 1)
        os.dup2(end, 2)
        os.close(end)

    def __call__(self) -> bool:
        """Whether there were any since the last call."""
        some = False
        with contextlib.suppress(BlockingIOError):
            while self._pipe is not None and os.read(self._pipe, 2**16):
                some = True
        return some


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ProtocolError("the end")
    return data


def _end_with_parent() -> None:
    """The end of stdin is the end of the parent. A thread waits for it, as the main one may be in a loop.
    (PR_SET_PDEATHSIG would follow the thread that started this process, and the app's threads come and go.)
    """
    if not hasattr(select, "poll"):
        return
    parent = os.getppid()

    def wait() -> None:
        poll = select.poll()
        poll.register(0, 0)  # tells of hang-ups only
        while not poll.poll(ORPHAN_CHECK) and os.getppid() == parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _limit(limits: Limits) -> int:
    """Bounds what the process may take; returns the MiB of memory that it may, or 0 without a bound."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    memory = limits.memory_mb * 2**20
    for what, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        if hard == resource.RLIM_INFINITY or value < hard:
            with contextlib.suppress(ValueError, OSError):  # macOS knows some limits by name only
                resource.setrlimit(what, (value, value))
    bound = resource.getrlimit(resource.RLIMIT_AS)[0]
    return 0 if bound == resource.RLIM_INFINITY else bound // 2**20


def _allow_processor_seconds(limits: Limits) -> None:
    """Ends a loop even where the parent that would have killed it is gone."""
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
