"""Opens files with PyAV: containers, video streams, packets and first frames."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from hmdb.video.limits import Limits
from hmdb.video.sniff import Container

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.sidedata.sidedata import SideData
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

THREADS = 2  # of PyAV; more only cost memory
SMALL = 480 * 360  # pixels; up to them a second thread costs more than it brings
LARGE = 1280 * 720  # pixels; above, a frame for each thread is faster
OUTPUT_CORRUPT = 1 << 3  # AV_CODEC_FLAG_OUTPUT_CORRUPT
MAX_PIXEL_ASPECT = 4
MAX_RESTARTS = 100  # of the packets of a damaged file
# What FFmpeg raises without memory, and where a thread gets none for its stack: no damage.
OUT_OF_MEMORY = (MemoryError, BlockingIOError)
VOP = b"\x00\x00\x01\xb6"  # start code of an MPEG-4 picture


class UnsupportedVideoError(Exception):
    """The file cannot be read. Internal: sent to the parent as a refusal, which `file.py` turns into a VideoError.

    Attributes:
        reason: "no pictures", "large", "long" or "unreadable".
    """

    def __init__(self, reason: str, *numbers: int) -> None:
        super().__init__(reason, *numbers)
        self.reason = reason
        self.numbers = numbers


def open_container(file: BinaryIO, container: Container, *, parsed: bool = True) -> InputContainer:
    """Opens a file with the one demuxer that its first bytes call for, which can open no other file and no address.
    Only one container may be open at a time, as they share the file position.

    Args:
        parsed: FFmpeg parses each packet for what containers leave out; mp4 and mov do not need it.

    Raises:
        av.FFmpegError: the file is in another format.
    """
    import av

    file.seek(0)
    options = {"protocol_whitelist": "none", "format_whitelist": container.demuxer}
    if not parsed and container.demuxer == "mov":
        options["fflags"] = "nofillin+noparse"  # takes a third of the time from reading all packets
    # Titles in other encodings than UTF-8 are common, HMDB51 has some, and are no reason to refuse a video.
    return av.open(file, "r", format=container.demuxer, options=options, metadata_errors="replace")


def select_video_stream(source: InputContainer, index: int | None = None) -> VideoStream:
    """Selects a video stream and configures its decoder.

    Args:
        index: of the stream, whose decoder then returns broken frames too; by default the largest stream of more than
            one picture, if there is one, with a decoder that returns sound frames only.

    Raises:
        UnsupportedVideoError: there is none.
    """
    if index is None:
        streams = video_streams(source)
        if not streams:
            raise UnsupportedVideoError("no pictures")
        stream = max(streams, key=_moves_and_size)
    else:
        stream = source.streams[index]  # type: ignore[assignment]
    if not stream.codec_context.is_open:
        pixels = stream.codec_context.width * stream.codec_context.height
        stream.codec_context.thread_count = THREADS if pixels > SMALL else 1
        if index is not None:
            stream.codec_context.flags |= OUTPUT_CORRUPT
        if pixels > LARGE:
            stream.codec_context.thread_type = "AUTO"  # frames in parallel, not only the slices of one
    return stream


def _moves_and_size(stream: VideoStream) -> tuple[bool, int]:
    return stream.frames != 1, stream.codec_context.width * stream.codec_context.height  # 0 frames: not declared


def pixel_aspect(stream: VideoStream) -> Fraction:
    """The width of a pixel over its height; 1 where the file declares none, or an implausible one."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return aspect if 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT else Fraction(1)


def video_streams(source: InputContainer) -> list[VideoStream]:
    """Lists the video streams that are not cover pictures."""
    import av

    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    moving = [stream for stream in source.streams.video if not stream.disposition & covers]
    return [stream for stream in moving if stream.codec_context is not None]


def iter_packets(
    source: InputContainer, *streams: VideoStream, on_damage: Callable[[], None] | None = None
) -> Iterator[av.Packet[Any]]:
    """Yields all packets that can be read. Behind damage it calls `on_damage` and goes on."""
    import av

    for _ in range(MAX_RESTARTS):
        try:
            yield from source.demux(*streams)
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, IndexError):
            if on_damage is not None:
                on_damage()
            continue
        return


def is_filler(packet: av.Packet[Any], codec: str) -> bool:
    """Returns True for the placeholder that DivX writes after two frames in one packet: it holds no picture, is no
    damage, and makes the decoder output the second of the two.
    """
    return codec == "mpeg4" and 0 < packet.size < len(VOP)


def decode_first_frame(packet: av.Packet[Any]) -> VideoFrame | None:
    """Decodes a packet; returns None if it yields no frame, in which case a later packet may."""
    import av

    try:
        return next(iter(packet.decode()), None)
    except OUT_OF_MEMORY:
        raise
    except av.FFmpegError:
        return None


def display_rotation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Reads the display matrix of a frame (ISO/IEC 14496-12, 6.2.2).

    Returns:
        Swap the axes; then mirror left to right; then flip upside down.
    """
    matrix = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    if matrix is None:
        return False, False, False
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def check_size(width: int, height: int, limits: Limits) -> None:
    """
    Raises:
        UnsupportedVideoError: the picture is too large.
    """
    if width * height > limits.source_pixels:
        raise UnsupportedVideoError("large", width, height)
