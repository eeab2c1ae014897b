"""Scans a file: its properties from its packets and first frame, and the decoder that suits it.

Reading all packets takes about a millisecond for 300 frames, a tenth of a second for 36,000, and finds what decord
misses: frames that an edit list hides, timestamps that are missing or repeated, places that cannot be seeked to.
"""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO, cast

from hmdb.video.limits import Limits
from hmdb.video.sniff import Container
from hmdb.video.worker.demux import (
    LARGE,
    UnsupportedVideoError,
    check_size,
    display_rotation,
    iter_packets,
    open_container,
    pixel_aspect,
    select_video_stream,
    video_streams,
)
from hmdb.video.worker.packet_index import PacketIndex

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

LONG_GOP = 128  # frames from key to key, from which on PyAV is faster if it can skip non-reference frames
NONREF_CODECS = frozenset({"h264", "hevc"})  # codecs that mark frames which no other refers to
FEW_FRAMES = 100  # frames
MAX_EARLY_END = 0.1  # of the declared duration: what may be missing from a file that is whole
RIFF_SLACK = 0.01  # of the declared size: writers miscount a little
DECORD_MAX_BYTES = 64 * 2**20  # decord gets the bytes of the file, as it can open none
DECORD_MAX_PACKETS = 3000  # decord reads all of them once more before it seeks
DECORD_MIN_SIDE = 17  # pixels; below, decord returns six channels


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The result of a scan.

    Attributes:
        container: as its first bytes tell.
        stream: index of the video stream that is read: the largest of several pictures.
        num_frames: that it should have.
        num_packets: of that stream, hidden, undecodable and empty ones included.
        num_undecodable: of those, packets at the beginning whose frames refer to missing ones.
        pts: timestamps of the visible packets, ascending, in units of `time_base`; empty where some have none.
        keys: positions in `pts` of frames that can be seeked to, ascending -> byte positions of their packets;
            empty where PyAV must not seek.
        time_base: seconds.
        start: seconds to subtract from timestamps.
        rate: declared frames per second; None where none is.
        width, height: of the upright picture, with square pixels.
        frame_bytes: memory that a decoded frame takes.
        announced: frames that the file declares; 0 where it does not.
        truncated: the end of the file is missing.
        codec, profile, pixel_format: as in `hmdb.video.video.StreamFormat`.
        suits_decord: decord should read it.
    """

    container: Container
    stream: int
    num_frames: int
    num_packets: int
    num_undecodable: int
    pts: tuple[int, ...]
    keys: Mapping[int, int]
    time_base: Fraction
    start: float
    rate: float | None
    width: int
    height: int
    frame_bytes: int
    announced: int
    truncated: bool
    codec: str
    profile: str
    pixel_format: str
    suits_decord: bool


def scan(file: BinaryIO, container: Container, limits: Limits) -> Scan:
    """Scans a file.

    Raises:
        UnsupportedVideoError: it is too large or too long, or holds no picture.
        av.FFmpegError: it cannot be opened.
    """
    if container.demuxer == "mov":
        with open_container(file, container, parsed=False) as source:
            stream = select_video_stream(source)
            check_size(stream.codec_context.width, stream.codec_context.height, limits)
            packets = PacketIndex(stream, container)
            if stream.frames <= limits.frames and packets.load_from_mp4_index(file, source):
                return _summarize(file, source, stream, packets, limits)
    with open_container(file, container, parsed=False) as source:
        stream = select_video_stream(source)
        check_size(stream.codec_context.width, stream.codec_context.height, limits)
        has_duration = container.demuxer in ("matroska", "flv", "asf")  # of all streams, so all are read
        packets = PacketIndex(stream, container, ends={} if has_duration else None)
        packets.add(iter_packets(source, *(() if has_duration else (stream,))), limits.frames)
        return _summarize(file, source, stream, packets, limits)


def _summarize(
    file: BinaryIO, source: InputContainer, stream: VideoStream, packets: PacketIndex, limits: Limits
) -> Scan:
    container, first = packets.container, packets.first
    if first is None or not packets.shown:
        raise UnsupportedVideoError("unreadable")
    check_size(first.width, first.height, limits)
    packets.drop_undecodable_start(first)
    pts = packets.pts
    unique = len(set(pts)) == len(packets.shown)
    announced, truncated = _declared_frames(file, source, stream, packets)
    turned = display_rotation(first)[0]
    width = round(first.width * pixel_aspect(stream))
    can_seek = container.seekable or (container.constant_rate and not stream.codec_context.has_b_frames)
    return Scan(
        container=container,
        stream=stream.index,
        num_frames=len(packets.shown),
        num_packets=packets.num_packets,
        num_undecodable=packets.num_undecodable,
        pts=pts,
        keys=_key_positions(packets.keys, pts) if can_seek and unique else {},
        time_base=Fraction(stream.time_base or 1),
        start=0.0 if container.own_clock else _start(source, pts, stream),
        rate=float(stream.average_rate) if stream.average_rate else None,
        width=first.height if turned else width,
        height=width if turned else first.height,
        frame_bytes=first.width * first.height * max(first.format.padded_bits_per_pixel, 8) // 8,
        announced=announced if announced <= limits.frames else 0,
        truncated=truncated,
        codec=stream.codec_context.codec.canonical_name,
        profile=stream.codec_context.profile or "",
        pixel_format=first.format.name,
        suits_decord=unique and not truncated and _suits_decord(file, source, stream, packets, first),
    )


def _suits_decord(
    file: BinaryIO, source: InputContainer, stream: VideoStream, packets: PacketIndex, first: VideoFrame
) -> bool:
    depth = max((component.bits for component in first.format.components), default=8)
    rotation = display_rotation(first)
    mirrored = sum(rotation) % 2 == 1
    suits = (
        packets.container.decord
        and packets.clean  # so that it can seek to any frame
        and not packets.num_hidden
        and not packets.num_undecodable
        and not mirrored  # decord applies rotations only,
        and (packets.container.demuxer == "mov" or not any(rotation))  # and these only of mp4 and mov
        and pixel_aspect(stream) == 1  # and it does not know how wide pixels are
        and len(video_streams(source)) == 1  # it cannot be told which one
        and min(first.width, first.height) >= DECORD_MIN_SIDE
        and first.width * first.height <= LARGE
        and depth <= 8  # its conversion differs
        and stream.frames <= 2 * packets.num_packets + FEW_FRAMES  # it reserves memory for so many
        and packets.num_packets <= DECORD_MAX_PACKETS
        and file.seek(0, os.SEEK_END) <= DECORD_MAX_BYTES
    )
    if suits and stream.codec_context.name in NONREF_CODECS and stream.codec_context.has_b_frames:
        return _longest_gop(_key_positions(packets.keys, packets.pts), len(packets.pts)) < LONG_GOP
    return suits


def _longest_gop(keys: Iterable[int], num_frames: int) -> int:
    """Returns the largest number of frames from one key to the next, or to the end."""
    return max((after - key for key, after in itertools.pairwise((*keys, num_frames))), default=num_frames)


def _key_positions(keys: Mapping[int, int], pts: tuple[int, ...]) -> dict[int, int]:
    """Maps the positions of the keys in `pts`, ascending, to their byte positions."""
    found = ((bisect.bisect_left(pts, key), key) for key in sorted(keys))
    return {index: keys[key] for index, key in found if index < len(pts) and pts[index] == key}


def _start(source: InputContainer, pts: tuple[int, ...], stream: VideoStream) -> float:
    start = cast("int | None", source.start_time)  # microseconds; None for a single frame
    if start is not None:
        return start / 1e6
    return float(pts[0] * (stream.time_base or 0)) if pts else 0.0


def _declared_frames(
    file: BinaryIO, source: InputContainer, stream: VideoStream, packets: PacketIndex
) -> tuple[int, bool]:
    """Returns the number of frames that the file declares, 0 for none, and True if its end is missing."""
    match source.format.name.split(",")[0]:
        case "mov":  # the index after edit lists; `stream.frames` counts what they leave out
            number = len(stream.index_entries)
            return number, number > packets.num_packets
        case "avi":
            return stream.frames, _riff_is_truncated(file)
        case "matroska" | "flv" | "asf" if source.duration and stream.average_rate:
            duration = source.duration / 1e6
            end = max((source.streams[index].time_base or 1) * end for index, end in (packets.ends or {0: 0}).items())
            truncated = float(end) < duration * (1 - MAX_EARLY_END) - 0.5
            return (int(duration * stream.average_rate), True) if truncated else (0, False)
    return 0, False


def _riff_is_truncated(file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8)[4:], "little")
    return 0 < length < 2**32 - 1 and length > (1 + RIFF_SLACK) * size
