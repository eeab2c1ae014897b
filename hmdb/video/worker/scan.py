"""What a file holds, from its packets and its first frame; and whether it suits decord. Runs in a worker.

Reading all packets costs about a millisecond for 300 frames, a tenth of a second for 36,000, and tells what decord
does not: frames that an edit list hides, timestamps that are missing or come twice, places that cannot be jumped to.
"""

from __future__ import annotations

import bisect
import itertools
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from hmdb.video.limits import Limits
from hmdb.video.sniff import Container
from hmdb.video.worker.mp4_index import composition_offsets

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.sidedata.sidedata import SideData
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

THREADS = 2  # of PyAV; more only cost memory
SMALL = 480 * 360  # pixels; up to them a second thread costs more than it brings
LARGE = 1280 * 720  # pixels; above, PyAV is faster, with a frame for each thread
LONG_RUN = 128  # frames between two keys, from which on PyAV is faster where it can leave some out
SKIPPING = frozenset({"h264", "hevc"})  # codecs that say of a frame whether others are made of it
MAX_RESTARTS = 100  # of the packets of a damaged file
OUTPUT_CORRUPT = 1 << 3  # AV_CODEC_FLAG_OUTPUT_CORRUPT
FEW_FRAMES = 100  # frames
# What FFmpeg raises without memory, and where a thread gets none for its stack: errors of its own, but no damage.
OUT_OF_MEMORY = (MemoryError, BlockingIOError)
# Codecs without frames out of order, of which every key frame is a clean cut.
ALWAYS_CLEAN = frozenset({"vp8", "vp9", "h263", "flv", "mjpeg", "prores", "dnxhd", "rawvideo"})
VOP = b"\x00\x00\x01\xb6"  # what an MPEG-4 picture starts with
MAX_EARLY_END = 0.1  # of the announced duration: what may be missing from a file that is whole
RIFF_SLACK = 0.01  # of the announced size: writers miscount a little
DECORD_MAX_BYTES = 64 * 2**20  # it is handed the bytes of the file, as it can open none
KEY, HIDDEN = 1, 2  # AVINDEX_KEYFRAME, AVINDEX_DISCARD_FRAME
HEAD = 4096  # bytes of a packet in which its first slice begins
FEW_PACKETS = 3000  # decord reads all of them once more before it jumps
DECORD_MIN_SIDE = 17  # pixels; below, decord returns six channels


class UnsupportedVideoError(Exception):
    """The file cannot be read. `reason` is one of those that `file.py` has words for."""

    def __init__(self, reason: str, *numbers: int) -> None:
        super().__init__(reason, *numbers)
        self.reason = reason
        self.numbers = numbers


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a file holds.

    Attributes:
        container: as its first bytes tell.
        stream: index of the picture track that is read: the largest.
        num_frames: that it should have.
        num_packets: of that track, hidden, headless and empty ones included.
        num_headless: of those, packets at the beginning that nothing can be made of without others that are missing.
        pts: timestamps of the visible packets, ascending, in units of `time_base`; empty where some have none.
        keys: positions in `pts` of frames that can be jumped to, ascending, and where in the file the packet of each
            is; empty where PyAV must not jump.
        time_base: seconds.
        start: seconds to subtract from timestamps.
        rate: frames per second, as announced; None where nothing is.
        width, height: of the upright picture.
        frame_bytes: memory that a decoded frame takes.
        announced: frames that the file says it has; 0 where it does not.
        truncated: whether its end is missing.
        codec, profile, pixel_format: as in `hmdb.video.video.StreamFormat`.
        suits_decord: whether decord should read it.
    """

    container: Container
    stream: int
    num_frames: int
    num_packets: int
    num_headless: int
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


def open_container(file: BinaryIO, container: Container, *, parsed: bool = True) -> InputContainer:
    """A file, opened as what its first bytes say, by a decoder that can open no other and no address. One at a
    time may be open, as they share the place in the file.

    Args:
        parsed: whether FFmpeg looks into each packet for what containers fail to tell; mp4 and mov tell all.

    Raises:
        av.FFmpegError: it is something else.
    """
    import av

    file.seek(0)
    options = {"protocol_whitelist": "none", "format_whitelist": container.demuxer}
    if not parsed and container.demuxer == "mov":
        options["fflags"] = "nofillin+noparse"  # takes a third of the time from reading all packets
    # Titles in other encodings than UTF-8 are common, HMDB51 has some, and are no reason to refuse a video.
    return av.open(file, "r", format=container.demuxer, options=options, metadata_errors="replace")


def select_video_stream(source: InputContainer, index: int | None = None) -> VideoStream:
    """A picture track, ready to decode what can be, broken frames included; by default the largest that is no cover
    picture, ready to decode sound frames.
    """
    if index is None:
        tracks = _tracks(source)
        if not tracks:
            raise UnsupportedVideoError("no pictures")
        track = max(tracks, key=lambda track: track.codec_context.width * track.codec_context.height)
    else:
        track = source.streams[index]  # type: ignore[assignment]
    if not track.codec_context.is_open:
        pixels = track.codec_context.width * track.codec_context.height
        track.codec_context.thread_count = THREADS if pixels > SMALL else 1
        if index is not None:
            track.codec_context.flags |= OUTPUT_CORRUPT
        if pixels > LARGE:
            track.codec_context.thread_type = "AUTO"  # frames in parallel, not only the slices of one
    return track


def _tracks(source: InputContainer) -> list[VideoStream]:
    import av

    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    moving = [track for track in source.streams.video if not track.disposition & covers]
    return [track for track in moving if track.codec_context is not None]


def iter_packets(
    source: InputContainer, *tracks: VideoStream, damaged: Callable[[], None] | None = None
) -> Iterator[av.Packet[Any]]:
    """All packets that can be read; reading starts again behind damage, of which `damaged` is told."""
    import av

    for _ in range(MAX_RESTARTS):
        try:
            yield from source.demux(*tracks)
        except OUT_OF_MEMORY:
            raise
        except (av.FFmpegError, IndexError):
            if damaged is not None:
                damaged()
            continue
        return


def scan(file: BinaryIO, container: Container, limits: Limits) -> Scan:
    """Looks at a file.

    Raises:
        RefusedError: it is too large or too long, or holds no picture.
        av.FFmpegError: it cannot be opened.
    """
    if container.demuxer == "mov":
        with open_container(file, container, parsed=False) as source:
            track = select_video_stream(source)
            _check_size(track.codec_context.width, track.codec_context.height, limits)
            tally = _PacketIndex(track, container)
            if track.frames <= limits.frames and tally.look_up(file, source):
                return _scanned(file, source, track, tally, limits)
    with open_container(file, container, parsed=False) as source:
        track = select_video_stream(source)
        _check_size(track.codec_context.width, track.codec_context.height, limits)
        tells_duration = container.demuxer in ("matroska", "flv", "asf")  # of all tracks, so all are read
        tally = _PacketIndex(track, container, ends={} if tells_duration else None)
        tally.add(iter_packets(source, *(() if tells_duration else (track,))), limits.frames)
        return _scanned(file, source, track, tally, limits)


def _scanned(file: BinaryIO, source: InputContainer, track: VideoStream, tally: _PacketIndex, limits: Limits) -> Scan:
    """What a file holds whose packets are known."""
    container = tally.container
    first = tally.first
    if first is None or not tally.shown:
        raise UnsupportedVideoError("unreadable")
    _check_size(first.width, first.height, limits)
    headless = tally.behead(first)

    pts = tally.pts
    unique = len(set(pts)) == len(tally.shown)
    announced, truncated = _declared_frames(file, source, track, tally)
    depth = max((component.bits for component in first.format.components), default=8)
    turned, left_right, upside_down = display_rotation(first)
    mirrored = (turned + left_right + upside_down) % 2 == 1  # decord knows the turns alone
    suits_decord = (
        container.decord
        and tally.clean  # so that any frame can be jumped to
        and not tally.num_hidden
        and not headless
        and not mirrored
        and len(_tracks(source)) == 1  # it cannot be told which one
        and min(first.width, first.height) >= DECORD_MIN_SIDE
        and first.width * first.height <= LARGE
        and depth <= 8  # its conversion differs
        and not truncated
        and track.frames <= 2 * tally.num_packets + FEW_FRAMES  # it reserves memory for so many
        and unique
        and tally.num_packets <= FEW_PACKETS
        and file.seek(0, os.SEEK_END) <= DECORD_MAX_BYTES
    )
    if track.codec_context.name in SKIPPING and track.codec_context.has_b_frames:
        suits_decord = suits_decord and longest_run(_positions(tally.keys, pts), len(pts)) < LONG_RUN
    can_jump = container.seekable or (container.constant_rate and not track.codec_context.has_b_frames)
    return Scan(
        container=container,
        stream=track.index,
        num_frames=len(tally.shown),
        num_packets=tally.num_packets,
        num_headless=headless,
        pts=pts,
        keys=_positions(tally.keys, pts) if can_jump and unique else {},
        time_base=Fraction(track.time_base or 1),
        start=0.0 if container.own_clock else _start(source, pts, track),
        rate=float(track.average_rate) if track.average_rate else None,
        width=first.height if turned else first.width,
        height=first.width if turned else first.height,
        frame_bytes=first.width * first.height * max(first.format.padded_bits_per_pixel, 8) // 8,
        announced=announced if announced <= limits.frames else 0,
        truncated=truncated,
        codec=track.codec_context.codec.canonical_name,
        profile=track.codec_context.profile or "",
        pixel_format=first.format.name,
        suits_decord=suits_decord,
    )


def longest_run(keys: Iterable[int], num_frames: int) -> int:
    """How many frames there are at most from one key to the next, or to the end."""
    return max((after - key for key, after in itertools.pairwise((*keys, num_frames))), default=num_frames)


def _positions(keys: Mapping[int, int], pts: tuple[int, ...]) -> dict[int, int]:
    """Where in `pts` the keys are, ascending, and where in the file."""
    found = ((bisect.bisect_left(pts, key), key) for key in sorted(keys))
    return {index: keys[key] for index, key in found if index < len(pts) and pts[index] == key}


def _start(source: InputContainer, pts: tuple[int, ...], track: VideoStream) -> float:
    start = cast("int | None", source.start_time)  # microseconds; none of a single frame
    if start is not None:
        return start / 1e6
    return float(pts[0] * (track.time_base or 0)) if pts else 0.0


class _PacketIndex:
    """The packets of a track, counted one by one."""

    def __init__(self, track: VideoStream, container: Container, ends: dict[int, int] | None = None) -> None:
        self.container = container
        self._track = track
        self._extradata = track.codec_context.extradata
        self.ends = ends  # of each track, on its clock, where anybody asks
        self._only_order = container.constant_rate  # then the n-th frame is shown when the n-th packet comes
        self.first: VideoFrame | None = None  # the first frame that can be decoded
        self.shown: list[int | None] = []  # timestamps
        self.keys: dict[int, int] = {}  # timestamps of packets that decoding can start at; their places in the file
        self.num_hidden = 0
        self.num_headless = 0
        self.num_empty = 0  # packets without a picture
        self.clean = True  # all key packets are clean cuts

    @property
    def num_packets(self) -> int:
        return len(self.shown) + self.num_hidden + self.num_headless + self.num_empty

    @property
    def pts(self) -> tuple[int, ...]:
        """In ascending order; empty where some are missing."""
        return () if None in self.shown else tuple(sorted(cast("list[int]", self.shown)))

    def add(self, packets: Iterable[av.Packet[Any]], most: int) -> None:
        """Counts packets, of this track and of others. An hour has 100,000: what is asked of each shows.

        Raises:
            RefusedError: there are more than `most`.
        """
        index, codec, only_order = self._track.index, self._track.codec_context.name, self._only_order
        shown, room, may_fill = self.shown, most, codec == "mpeg4"
        for packet in packets:
            pts = packet.pts
            if self.ends is not None and pts is not None:
                self.ends[packet.stream_index] = max(
                    self.ends.get(packet.stream_index, 0), pts + (packet.duration or 0)
                )
            if packet.stream_index != index:
                continue
            if self.first is None:
                self.first = _first_frame(packet)
            if not packet.size:  # the last, which makes the decoder give what it holds back
                continue
            if (room := room - 1) < 0:
                raise UnsupportedVideoError("long")
            if packet.is_discard:
                self.num_hidden += 1
            elif may_fill and is_filler(packet, codec):
                self.num_empty += 1
            else:
                shown.append(packet.dts if only_order else pts)
            if packet.is_keyframe:
                self._add_key(pts, packet.pos or 0, memoryview(packet))

    def look_up(self, file: BinaryIO, source: InputContainer) -> bool:
        """Takes all packets from the index of an mp4 or mov, and reads only those that the first frame needs.

        Returns:
            Whether the index tells all, and what was read agrees with it; else reading has to begin anew.
        """
        entries, place = self._track.index_entries, file.tell()
        later, size = composition_offsets(file, len(entries)), file.seek(0, os.SEEK_END)
        file.seek(place)  # where FFmpeg goes on reading
        if later is None or not entries or any(entry.pos + entry.size > size for entry in (entries[0], entries[-1])):
            return False
        decoded, flags = [entry.timestamp for entry in entries], [entry.flags for entry in entries]
        if any(flag & HIDDEN for flag in flags) or self._track.codec_context.name == "mpeg4":
            return False
        shown: list[int] = []
        for number, packet in enumerate(iter_packets(source, self._track)):
            if not shown and packet.pts is not None:  # what an edit list adds is the same for all
                shown = (np.asarray(decoded) + later + (packet.pts - decoded[0] - int(later[0]))).tolist()
            if not packet.size or number >= len(shown):
                return False
            if (packet.pts, packet.pos) != (shown[number], entries[number].pos):
                return False
            self.first = _first_frame(packet)
            if self.first is not None:
                break
        self.shown = list(shown)
        for number in (number for number, flag in enumerate(flags) if flag & KEY):
            file.seek(entries[number].pos)
            self._add_key(shown[number], entries[number].pos, file.read(min(entries[number].size, HEAD)))
        return True

    def _add_key(self, pts: int | None, place: int, data: bytes | memoryview) -> None:
        codec = self._track.codec_context.name
        clean = _is_clean_keyframe(data, codec, self._extradata)
        self.clean = self.clean and clean
        if pts is not None and (clean or codec != "h264"):
            self.keys[pts] = place

    def behead(self, first: VideoFrame) -> int:
        """Leaves out what is shown before the first frame that can be decoded: a recording, or a cut of one, may begin
        with frames that are made of others which are missing. Returns how many.
        """
        if first.pts is not None and not self._only_order and None not in self.shown:
            self.num_headless = sum(pts < first.pts for pts in self.shown if pts is not None)
            self.shown = [pts for pts in self.shown if pts is not None and pts >= first.pts]
        return self.num_headless


def is_filler(packet: av.Packet[Any], codec: str) -> bool:
    """Whether it is what DivX writes after two frames in one packet: no picture of its own, and no damage. It makes
    the decoder give the second of the two.
    """
    return codec == "mpeg4" and 0 < packet.size < len(VOP)


def _declared_frames(
    file: BinaryIO, source: InputContainer, track: VideoStream, tally: _PacketIndex
) -> tuple[int, bool]:
    """How many frames the file says it has (0: nothing), and whether its end is missing."""
    match source.format.name.split(",")[0]:
        case "mov":  # the index, as it is after edit lists; `track.frames` counts what they leave out
            number = len(track.index_entries)
            return number, number > tally.num_packets
        case "avi":
            return track.frames, _riff_is_truncated(file)
        case "matroska" | "flv" | "asf" if source.duration and track.average_rate:
            duration = source.duration / 1e6
            end = max((source.streams[index].time_base or 1) * end for index, end in (tally.ends or {0: 0}).items())
            truncated = float(end) < duration * (1 - MAX_EARLY_END) - 0.5
            return (int(duration * track.average_rate), True) if truncated else (0, False)
    return 0, False


def display_rotation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """How to hold a frame up, by its display matrix (ISO/IEC 14496-12, 6.2.2): whether to swap its axes, and then to
    mirror it left to right, and upside down.
    """
    matrix = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    if matrix is None:
        return False, False, False
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.source_pixels:
        raise UnsupportedVideoError("large", width, height)


def _first_frame(packet: av.Packet[Any]) -> VideoFrame | None:
    import av

    try:
        return next(iter(packet.decode()), None)
    except OUT_OF_MEMORY:
        raise
    except av.FFmpegError:  # damage; a later packet may do
        return None


def _is_clean_keyframe(data: bytes | memoryview, codec: str, extradata: bytes | None) -> bool:
    """Whether a key packet, of which the beginning will do, is a clean cut, and so safe for decord to jump to.

    In H.264 and HEVC those are the IDR slices. Other H.264 key packets may be mere recovery points, from which
    the picture builds up over seconds (intra refresh); other HEVC ones are shown after frames that follow
    them (open GOP), as in MPEG-1, 2 and 4, which decord miscounts.
    """
    where = {"h264": 4, "hevc": 21}.get(codec)  # of the size of the lengths before each NAL unit
    if where is None:
        return codec in ALWAYS_CLEAN
    if not extradata or extradata[0] != 1 or len(extradata) <= where:
        return False  # start codes instead of lengths
    at, size = 0, (extradata[where] & 3) + 1
    while at + size < len(data):
        header = data[at + size]
        if codec == "h264" and 1 <= header & 0x1F <= 5:
            return header & 0x1F == 5
        if codec == "hevc" and header >> 1 & 0x3F < 32:
            return header >> 1 & 0x3F in (19, 20)
        at += size + int.from_bytes(data[at : at + size])
    return False


def _riff_is_truncated(file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8)[4:], "little")
    return 0 < length < 2**32 - 1 and length > (1 + RIFF_SLACK) * size
