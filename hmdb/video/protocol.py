"""The protocol between the library and its decoding processes: a length, JSON, raw pixels.

Nothing is unpickled, and every answer is validated: a process that decodes a hostile file may be under its command.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from hmdb.video.limits import Limits

LENGTH = struct.Struct(">I")
MAX_MESSAGE = 16 * 2**20  # bytes
DECORD, PYAV = "decord", "PyAV"
DECODERS = (DECORD, PYAV)
SAFE_NAME = re.compile(r"[\w .:()+/-]{0,40}", re.ASCII)  # FFmpeg's name of a codec, a profile or a pixel format


class ProtocolError(Exception):
    """The other side has ended, or its message is invalid. Internal: `worker_process.py` catches it."""


class Source(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Sink(Protocol):
    def write(self, data: memoryview, /) -> int | None: ...


def read_into(source: Source, buffer: memoryview) -> None:
    """Fills a buffer of bytes.

    Raises:
        ProtocolError: the other side has ended.
    """
    while buffer:
        count = source.readinto(buffer)
        if not count:
            raise ProtocolError("the other process has ended")
        buffer = buffer[count:]


def write_all(sink: Sink, data: bytes | memoryview) -> None:
    """Writes all bytes to an unbuffered pipe, which may take only some of them at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[sink.write(rest) or 0 :]


def write_message(sink: Sink, message: Mapping[str, Any]) -> None:
    body = json.dumps(message).encode()
    write_all(sink, LENGTH.pack(len(body)) + body)


def read_message(source: Source) -> dict[str, Any]:
    """Reads the next message.

    Raises:
        ProtocolError: the other side has ended, or the message is too long or not a JSON object.
    """
    (length,) = LENGTH.unpack(_read(source, LENGTH.size))
    if length > MAX_MESSAGE:
        raise ProtocolError(f"a message of {length} bytes")
    try:
        message = json.loads(_read(source, length))
    except ValueError as error:
        raise ProtocolError("a message that is not JSON") from error
    if not isinstance(message, dict):
        raise ProtocolError("a message that is not a JSON object")
    return message


def _read(source: Source, size: int) -> bytes:
    data = bytearray(size)
    read_into(source, memoryview(data))
    return bytes(data)


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """The parts of the sandbox that hold in a decoding process.

    Attributes:
        no_new_privileges, not_dumpable: set by prctl(2).
        landlock: version of the kernel's interface; 0 without.
        seccomp: the system call filter is in force.
        memory_mb: limit on its address space, in MiB; 0 without a limit.
    """

    no_new_privileges: bool = False
    not_dumpable: bool = False
    landlock: int = 0
    seccomp: bool = False
    memory_mb: int = 0

    @property
    def complete(self) -> bool:
        return all(vars(self).values())

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> Self:
        """Validates what a worker reports.

        Raises:
            ProtocolError: a field is missing, unknown or of another type.
        """
        try:
            confinement = cls(**values)
        except TypeError as error:
            raise ProtocolError("an invalid confinement") from error
        if any(type(value) is not type(getattr(cls, name)) for name, value in vars(confinement).items()):
            raise ProtocolError("an invalid confinement")
        return confinement


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """Properties of the video stream of a file.

    Attributes:
        num_frames: frames that can be read.
        fps: mean frame rate; None without a clock.
        width, height: of the frames as they are delivered.
        decoder: one of DECODERS.
        damaged: something in the file is broken or missing.
        announced: frames that the file declares, where that is more than `num_frames`; else 0.
        codec, profile, pixel_format: as in `StreamFormat`.
    """

    num_frames: int
    fps: float | None
    width: int
    height: int
    decoder: str
    damaged: bool
    announced: int
    codec: str
    profile: str
    pixel_format: str

    @classmethod
    def checked(cls, values: Mapping[str, Any], limits: Limits) -> Self:
        """Validates what a worker reports.

        Raises:
            ProtocolError: a field is missing, unknown, of another type or out of range.
        """
        try:
            info = cls(**values)
            sizes = (info.num_frames, info.width, info.height, info.announced)
            plausible = (
                all(type(size) is int for size in sizes)
                and 1 <= info.num_frames <= limits.frames
                and info.width >= 1
                and info.height >= 1
                and info.width * info.height <= limits.pixels + info.width + info.height  # rounding
                and (info.fps is None or (math.isfinite(info.fps) and info.fps > 0))
                and info.decoder in DECODERS
                and type(info.damaged) is bool
                and 0 <= info.announced <= 2**63
                and all(SAFE_NAME.fullmatch(name) for name in (info.codec, info.profile, info.pixel_format))
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ProtocolError("invalid stream info") from error
        if not plausible:
            raise ProtocolError("implausible stream info")
        return info
