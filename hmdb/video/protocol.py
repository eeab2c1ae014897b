"""What the library and its decoding processes say to each other: a length, JSON, raw pixels.

Nothing is unpickled, and the answers are checked as a stranger's would be: what decodes a hostile file
may be under its command.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from hmdb.video.limits import Limits

LENGTH = struct.Struct(">I")
MAX_MESSAGE = 16 * 2**20  # bytes
DECORD, PYAV = "decord", "PyAV"
DECODERS = (DECORD, PYAV)
SAFE_NAME = re.compile(r"[\w .:()+/-]{0,40}", re.ASCII)  # a name that FFmpeg has for something

Read = Callable[[int], bytes]


class ProtocolError(Exception):
    """The other side has gone, or speaks another language."""


def encode_message(message: Mapping[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return LENGTH.pack(len(body)) + body


def read_message(read: Read) -> dict[str, Any]:
    """The next message. `read(n)` returns exactly n bytes or raises."""
    (length,) = LENGTH.unpack(read(LENGTH.size))
    if length > MAX_MESSAGE:
        raise ProtocolError(f"a message of {length} bytes")
    try:
        message = json.loads(read(length))
    except ValueError as error:
        raise ProtocolError("a message that is no JSON") from error
    if not isinstance(message, dict):
        raise ProtocolError("a message that is no object")
    return message


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """What is known about a file.

    Attributes:
        num_frames: frames that can be read.
        fps: mean frame rate; None without a clock.
        width, height: of the frames as they are delivered.
        decoder: one of DECODERS.
        damaged: whether something in it is broken or missing.
        announced: frames that it was said to have, where that is known and more than there are; else 0.
        codec, profile, pixel_format: as in `Format`.
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
        """The facts that a worker states, if they can be true.

        Raises:
            WireError: they cannot.
        """
        try:
            facts = cls(**values)
            sizes = (facts.num_frames, facts.width, facts.height, facts.announced)
            plausible = (
                all(type(size) is int for size in sizes)
                and 1 <= facts.num_frames <= limits.frames
                and facts.width >= 1
                and facts.height >= 1
                and facts.width * facts.height <= limits.pixels + facts.width + facts.height  # rounding
                and (facts.fps is None or (math.isfinite(facts.fps) and facts.fps > 0))
                and facts.decoder in DECODERS
                and type(facts.damaged) is bool
                and 0 <= facts.announced <= 2**63
                and all(SAFE_NAME.fullmatch(word) for word in (facts.codec, facts.profile, facts.pixel_format))
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ProtocolError("facts of another kind") from error
        if not plausible:
            raise ProtocolError("facts that cannot be true")
        return facts
