"""Decodes with PyAV, which reads everything that is let in, and what is there of damaged files."""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from hmdb.video.limits import Limits
from hmdb.video.protocol import PYAV, StreamInfo
from hmdb.video.worker.decoders import Picture, mean_fps, since_start, timestamp
from hmdb.video.worker.demux import (
    OUT_OF_MEMORY,
    UnsupportedVideoError,
    display_rotation,
    is_filler,
    iter_packets,
    open_container,
    select_video_stream,
)
from hmdb.video.worker.scan import NONREF_CODECS, Scan

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

DEEP_FORMAT = re.compile(r"(yuva?4\d\dp)\d")  # such as yuv420p10le


class PyAVReader:
    """PyAV. It seeks to the nearest key frame where it can, so damage elsewhere goes unnoticed. Where it cannot, and
    once a seek meets damage or the wrong frame, a short video is decoded as a whole and kept, unconverted, in its
    small native format; a long one is read from its beginning.

    Args:
        suspect: the file is probably damaged, so a short one is decoded as a whole at once.
    """

    def __init__(self, file: BinaryIO, scan: Scan, limits: Limits, *, suspect: bool = False) -> None:
        from av.video.reformatter import VideoReformatter

        self._file = file
        self._scan = scan
        self._size = limits.fitted(scan.width, scan.height)
        self._limits = limits
        # A frame's own converter, with its threads, would live as long as the frame, and hundreds are kept.
        self._to_8_bits, self._to_rgb = VideoReformatter(), VideoReformatter()
        self._errors = 0
        self._num_frames = scan.num_frames
        self._first = scan.pts[0] if scan.pts and not scan.container.constant_rate else -math.inf
        self._kept: list[VideoFrame] = []
        self._short = scan.num_frames * scan.frame_bytes <= limits.kept_mb * 2**20
        self._can_seek = True
        if not scan.keys or (self._short and (suspect or scan.truncated)):
            self._decode_all()

    def _decode_all(self) -> None:
        """Stops seeking; decodes and keeps all frames of a short video.

        Raises:
            UnsupportedVideoError: it has none.
        """
        self._can_seek = False
        if self._short:
            self._errors = 0
            with open_container(self._file, self._scan.container) as source:
                self._kept = list(self._decode(source))
            if not self._kept:
                raise UnsupportedVideoError("unreadable")
            self._num_frames = len(self._kept)

    @property
    def info(self) -> StreamInfo:
        width, height = self._size
        announced = max(self._scan.announced, self._scan.num_frames)
        damaged = self._scan.truncated or self._errors > 0
        return StreamInfo(
            num_frames=self._num_frames,
            fps=mean_fps(self._scan),
            width=width,
            height=height,
            decoder=PYAV,
            damaged=damaged,
            announced=announced if damaged and announced > self._num_frames else 0,
            codec=self._scan.codec,
            profile=self._scan.profile,
            pixel_format=self._scan.pixel_format,
        )

    def frames(self, indices: Sequence[int]) -> dict[int, Picture]:
        if self._can_seek:
            pictures = {index: self._picture(index, frame) for index, frame in self._seek_frames(indices)}
            if len(pictures) == len(indices) and not (self._errors and self._short):
                return pictures
            self._decode_all()
        found: Iterable[tuple[int, VideoFrame]] = (
            ((index, self._kept[index]) for index in indices if index < len(self._kept))
            if self._kept
            else self._scan_frames(indices)
        )
        return {index: self._picture(index, frame) for index, frame in found}

    def second(self, index: int) -> float | None:
        return self._second(index, self._kept[index]) if self._kept else timestamp(self._scan, index)

    def _scan_frames(self, indices: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Decodes from the beginning, and counts the frames where the file ends before the last index."""
        wanted, index = set(indices), -1
        with open_container(self._file, self._scan.container) as source:
            for index, frame in enumerate(self._decode(source)):
                if index in wanted:
                    yield index, frame
                if index == indices[-1]:
                    return
        if index < 0:
            raise UnsupportedVideoError("unreadable")
        self._num_frames = index + 1

    def _seek_frames(self, indices: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Decodes each frame from the nearest key frame. Ends early at a frame with another timestamp than it should
        have, or after a seek to a frame that is no key or lies elsewhere in the file: indices can be wrong, and AVIs
        have no other timestamps.
        """
        pts, keys, at = self._scan.pts, list(self._scan.keys), -1
        wanted = {pts[index] for index in indices}
        with open_container(self._file, self._scan.container) as source:
            stream = source.streams[self._scan.stream]
            frames: Iterator[VideoFrame] = self._decode(source, wanted)
            for index in indices:
                nearest = bisect.bisect_right(keys, index) - 1
                if nearest >= 0 and keys[nearest] > at + 1:
                    source.seek(pts[keys[nearest]], stream=stream)
                    frames = self._decode(source, wanted, expected_pos=self._scan.keys[keys[nearest]])
                    first = next(frames, None)
                    if first is None or not first.key_frame:
                        return
                    frames = itertools.chain([first], frames)
                frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= pts[index]), None)
                if frame is None or frame.pts != pts[index]:
                    return
                at = index
                yield index, frame

    def _decode(
        self, source: InputContainer, wanted: Collection[int] | None = None, *, expected_pos: int | None = None
    ) -> Iterator[VideoFrame]:
        """Yields the frames that follow.

        Args:
            wanted: timestamps of the frames that are needed: others that nothing refers to are skipped, in codecs
                that mark them. None yields all.
            expected_pos: byte position that the next packet must have; if not, nothing is yielded.
        """
        import av

        stream = select_video_stream(source, self._scan.stream)
        at_start = self._scan.num_undecodable > 0  # until the first frame comes, errors are no damage
        skips = wanted is not None and stream.codec_context.name in NONREF_CODECS
        for packet in iter_packets(source, stream, on_damage=self._count_error):
            if expected_pos not in (None, packet.pos):
                return
            expected_pos = None
            if skips:
                stream.codec_context.skip_frame = "DEFAULT" if packet.pts in (wanted or ()) else "NONREF"
            try:
                frames = packet.decode()
            except av.EOFError:
                return
            except OUT_OF_MEMORY:
                raise
            except av.FFmpegError:
                if not at_start and not is_filler(packet, stream.codec_context.name):
                    self._count_error()
                continue
            for frame in frames:
                if frame.width * frame.height > self._limits.source_pixels:
                    raise UnsupportedVideoError("large", frame.width, frame.height)
                if frame.pts is not None and frame.pts < self._first:
                    continue  # broken: it refers to missing frames
                at_start = False
                self._errors += frame.is_corrupt
                yield frame

    def _count_error(self) -> None:
        self._errors += 1

    def _picture(self, index: int, frame: VideoFrame) -> Picture:
        width, height = self._size
        turned, left_right, upside_down = display_rotation(frame)
        if turned:
            width, height = height, width
        second = self._second(index, frame)
        if deep := DEEP_FORMAT.match(frame.format.name):
            # By way of 8 bits: FFmpeg's versions differ by 3 grey levels in the direct conversion.
            frame = self._to_8_bits.reformat(frame, format=deep[1])
        rgb = self._to_rgb.reformat(frame, format="rgb24", width=width, height=height, interpolation="BILINEAR")
        pixels = rgb.to_ndarray()
        pixels = pixels.swapaxes(0, 1) if turned else pixels
        return pixels[:: -1 if upside_down else 1, :: -1 if left_right else 1], second

    def _second(self, index: int, frame: VideoFrame) -> float | None:
        if self._scan.container.constant_rate:
            return timestamp(self._scan, index)
        return None if frame.time is None else since_start(self._scan.start, frame.time)
