"""The packets of a video stream: timestamps, key frames, and the frames that a player would not show."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from hmdb.video.sniff import Container
from hmdb.video.worker.demux import UnsupportedVideoError, decode_first_frame, is_filler, iter_packets
from hmdb.video.worker.mp4_index import composition_offsets

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Codecs without frames out of order, in which every key frame is a clean one.
ALWAYS_CLEAN = frozenset({"vp8", "vp9", "h263", "flv", "mjpeg", "prores", "dnxhd", "rawvideo"})
KEY, HIDDEN = 1, 2  # AVINDEX_KEYFRAME, AVINDEX_DISCARD_FRAME
HEAD = 4096  # bytes of a packet in which its first slice begins


class PacketIndex:
    """The packets of one video stream, either counted one by one or taken from the index of an mp4.

    Attributes:
        first: the first frame that can be decoded.
        shown: timestamps of the visible packets, in the order of the file; None where one is missing.
        keys: timestamps of packets that decoding can start at -> their byte positions in the file.
        num_hidden: packets that an edit list hides.
        num_undecodable: packets before `first`.
        num_empty: packets without a picture.
        clean: all key frames are clean ones.
        ends: stream index -> its last timestamp, in that stream's time base; None where it is not needed.
    """

    def __init__(self, stream: VideoStream, container: Container, ends: dict[int, int] | None = None) -> None:
        self.container = container
        self._stream = stream
        self._extradata = stream.codec_context.extradata
        self.ends = ends
        self._only_order = container.constant_rate  # then the n-th frame is shown when the n-th packet comes
        self.first: VideoFrame | None = None
        self.shown: list[int | None] = []
        self.keys: dict[int, int] = {}
        self.num_hidden = 0
        self.num_undecodable = 0
        self.num_empty = 0
        self.clean = True

    @property
    def num_packets(self) -> int:
        return len(self.shown) + self.num_hidden + self.num_undecodable + self.num_empty

    @property
    def pts(self) -> tuple[int, ...]:
        """Timestamps in ascending order; empty where some are missing."""
        return () if None in self.shown else tuple(sorted(cast("list[int]", self.shown)))

    def add(self, packets: Iterable[av.Packet[Any]], max_packets: int) -> None:
        """Counts packets, of this stream and of others. An hour has 100,000, so every operation in the loop shows.

        Raises:
            UnsupportedVideoError: there are more than `max_packets`.
        """
        index, codec, only_order = self._stream.index, self._stream.codec_context.name, self._only_order
        shown, room, may_fill = self.shown, max_packets, codec == "mpeg4"
        for packet in packets:
            pts = packet.pts
            if self.ends is not None and pts is not None:
                self.ends[packet.stream_index] = max(
                    self.ends.get(packet.stream_index, 0), pts + (packet.duration or 0)
                )
            if packet.stream_index != index:
                continue
            if self.first is None:
                self.first = decode_first_frame(packet)
            if not packet.size:  # the last, which flushes the decoder
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

    def load_from_mp4_index(self, file: BinaryIO, source: InputContainer) -> bool:
        """Takes all packets from the index of an mp4 or mov, and reads only those that the first frame needs.

        Returns:
            True if the index is complete and agrees with what was read; else the file has to be opened anew.
        """
        entries, position = self._stream.index_entries, file.tell()
        offsets, size = composition_offsets(file, len(entries)), file.seek(0, os.SEEK_END)
        file.seek(position)  # where FFmpeg goes on reading
        if offsets is None or not entries or any(entry.pos + entry.size > size for entry in (entries[0], entries[-1])):
            return False
        decoded, flags = [entry.timestamp for entry in entries], [entry.flags for entry in entries]
        if any(flag & HIDDEN for flag in flags) or self._stream.codec_context.name == "mpeg4":
            return False
        shown: list[int] = []
        for number, packet in enumerate(iter_packets(source, self._stream)):
            if not shown and packet.pts is not None:  # the shift of an edit list is the same for all
                shown = (np.asarray(decoded) + offsets + (packet.pts - decoded[0] - int(offsets[0]))).tolist()
            if not packet.size or number >= len(shown):
                return False
            if (packet.pts, packet.pos) != (shown[number], entries[number].pos):
                return False
            self.first = decode_first_frame(packet)
            if self.first is not None:
                break
        self.shown = list(shown)
        for number in (number for number, flag in enumerate(flags) if flag & KEY):
            file.seek(entries[number].pos)
            self._add_key(shown[number], entries[number].pos, file.read(min(entries[number].size, HEAD)))
        return True

    def _add_key(self, pts: int | None, position: int, data: bytes | memoryview) -> None:
        codec = self._stream.codec_context.name
        clean = _is_clean_keyframe(data, codec, self._extradata)
        self.clean = self.clean and clean
        if pts is not None and (clean or codec != "h264"):
            self.keys[pts] = position

    def drop_undecodable_start(self, first: VideoFrame) -> int:
        """Drops packets shown before the first frame that can be decoded, and returns their number: a recording, or a
        cut of one, may begin with frames that refer to missing ones.
        """
        if first.pts is not None and not self._only_order and None not in self.shown:
            self.num_undecodable = sum(pts < first.pts for pts in self.shown if pts is not None)
            self.shown = [pts for pts in self.shown if pts is not None and pts >= first.pts]
        return self.num_undecodable


def _is_clean_keyframe(data: bytes | memoryview, codec: str, extradata: bytes | None) -> bool:
    """Returns True if no frame from this key packet on refers to an earlier one, so that decord can seek to it.

    In H.264 and HEVC those are the IDR slices. Other H.264 key packets may be mere recovery points, from which
    the picture builds up over seconds (intra refresh); other HEVC ones are shown after frames that follow
    them (open GOP), as in MPEG-1, 2 and 4, which decord miscounts.

    Args:
        data: the packet, or its beginning.
    """
    length_at = {"h264": 4, "hevc": 21}.get(codec)  # in extradata: the size of the lengths before each NAL unit
    if length_at is None:
        return codec in ALWAYS_CLEAN
    if not extradata or extradata[0] != 1 or len(extradata) <= length_at:
        return False  # start codes instead of lengths
    at, size = 0, (extradata[length_at] & 3) + 1
    while at + size < len(data):
        header = data[at + size]
        if codec == "h264" and 1 <= header & 0x1F <= 5:
            return header & 0x1F == 5
        if codec == "hevc" and header >> 1 & 0x3F < 32:
            return header >> 1 & 0x3F in (19, 20)
        at += size + int.from_bytes(data[at : at + size])
    return False
