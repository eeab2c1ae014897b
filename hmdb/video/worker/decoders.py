"""decord and PyAV: a scanned file -> pixels. Runs in a worker."""

from __future__ import annotations

import bisect
import importlib
import itertools
import math
import pkgutil
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from hmdb.video.limits import Limits
from hmdb.video.protocol import DECORD, PYAV, StreamInfo
from hmdb.video.worker.scan import (
    OUT_OF_MEMORY,
    SKIPPING,
    Scan,
    UnsupportedVideoError,
    display_rotation,
    is_filler,
    iter_packets,
    open_container,
    select_video_stream,
)

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

BATCH = 16  # frames that decord is asked for at once
DEEP_FORMAT = re.compile(r"(yuva?4\d\dp)\d")  # yuv420p10le and its like

Picture = tuple[np.ndarray, float | None]  # uint8 RGB (H, W, 3), seconds


class DecoderUnsuitableError(Exception):
    """This decoder does not do for this file."""


class Reader(Protocol):
    """A file that is open in a worker."""

    @property
    def facts(self) -> StreamInfo: ...

    def frames(self, indices: Sequence[int]) -> dict[int, Picture]:
        """The frames at these indices, ascending. Fewer than asked for where the file ends early;
        `facts` tell its true number of frames then.

        Raises:
            UnfitError: another decoder should try.
        """

    def second(self, index: int) -> float | None:
        """When a frame is shown; None without a clock."""


class DecordReader:
    """decord with one thread: more give wrong frames for VP9."""

    def __init__(self, file: BinaryIO, scan: Scan, limits: Limits, complaints: Callable[[], bool]) -> None:
        self._scan = scan
        self._size = limits.fitted(scan.width, scan.height)
        self._complaints = complaints
        self._file = file
        self._validated_body: set[int] = set()  # keys that the index leads to
        import decord

        reduced = self._size != (scan.width, scan.height)
        width, height = self._size if reduced else (-1, -1)
        try:
            file.seek(0)
            self._reader = decord.VideoReader(file, num_threads=1, width=width, height=height)
        except Exception as error:  # decord raises its own errors, RuntimeError and UnicodeError
            _raise_if_out_of_memory(error)
            raise DecoderUnsuitableError("decord cannot open it") from error
        if len(self._reader) != scan.num_packets:
            raise DecoderUnsuitableError(f"decord counts {len(self._reader)} frames, not {scan.num_packets}")

    @property
    def facts(self) -> StreamInfo:
        width, height = self._size
        return StreamInfo(
            num_frames=self._scan.num_frames,
            fps=_fps(self._scan),
            width=width,
            height=height,
            decoder=DECORD,
            damaged=False,
            announced=0,
            codec=self._scan.codec,
            profile=self._scan.profile,
            pixel_format=self._scan.pixel_format,
        )

    def frames(self, indices: Sequence[int]) -> dict[int, Picture]:
        self._check_index(indices)
        self._complaints()
        try:
            found = dict(self._read(indices))
            # It decodes ahead of what was asked for, whole minutes of it, into memory and beside the network;
            # a seek ends that.
            self._reader.seek(0)
        except Exception as error:  # decord raises its own errors, RuntimeError and IndexError
            _raise_if_out_of_memory(error)
            raise DecoderUnsuitableError("decord cannot decode it") from error
        if self._complaints():
            raise DecoderUnsuitableError("decord reports damage")
        for pixels in found.values():
            if pixels.shape != (self._size[1], self._size[0], 3):
                raise DecoderUnsuitableError(f"decord returns frames of shape {pixels.shape}")
        return {index: (pixels, _clock(self._scan, index)) for index, pixels in found.items()}

    def second(self, index: int) -> float | None:
        return _clock(self._scan, index)

    def _check_index(self, indices: Sequence[int]) -> None:
        """Jumps as decord will, which takes the index of a file at its word; mp4 and mov have no other timestamps."""
        if self._scan.container.demuxer == "mov":
            return
        pts, keys = self._scan.pts, list(self._scan.keys)
        wanted = {keys[max(bisect.bisect_right(keys, index) - 1, 0)] for index in indices} - self._validated_body
        with open_container(self._file, self._scan.container) as source:
            track = source.streams[self._scan.stream]
            for key in wanted:
                source.seek(pts[key], stream=track)
                packet = next(iter_packets(source, select_video_stream(source, self._scan.stream)), None)
                if packet is None or packet.pts != pts[key]:
                    raise DecoderUnsuitableError("its index lies")
        self._validated_body |= wanted

    def _read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(indices), BATCH):
            batch = list(indices[start : start + BATCH])
            yield from zip(batch, self._reader.get_batch(batch).asnumpy(), strict=True)


def _raise_if_out_of_memory(error: Exception) -> None:
    """Raises MemoryError for what decord says of a lack of memory, in the words of C++ and of FFmpeg."""
    if isinstance(error, MemoryError) or re.search("bad_alloc|[Cc]annot allocate memory|[Oo]ut of memory", str(error)):
        raise MemoryError(f"decord: {error}"[:200]) from error


class PyAVReader:
    """PyAV. Where it can jump, it decodes what is asked for from the nearest such place, so it does not see damage
    elsewhere. Where it cannot, and as soon as a jump meets damage or another frame than it should, a short
    video is decoded as a whole and kept, undisplayed, in its small native format; a long one is read from its
    beginning where it cannot be jumped in.

    Args:
        suspect: the file is thought to be damaged, so a short one is decoded as a whole at once.
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
        self._jumps = True
        if not scan.keys or (self._short and (suspect or scan.truncated)):
            self._stop_jumping()

    def _stop_jumping(self) -> None:
        self._jumps = False
        if self._short:
            self._errors = 0
            with open_container(self._file, self._scan.container) as source:
                self._kept = list(self._decoded(source))
            if not self._kept:
                raise UnsupportedVideoError("unreadable")
            self._num_frames = len(self._kept)

    @property
    def facts(self) -> StreamInfo:
        width, height = self._size
        announced = max(self._scan.announced, self._scan.num_frames)
        damaged = self._scan.truncated or self._errors > 0
        return StreamInfo(
            num_frames=self._num_frames,
            fps=_fps(self._scan),
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
        if self._jumps:
            jumped = {index: self._picture(index, frame) for index, frame in self._jumped_to(indices)}
            if len(jumped) == len(indices) and not (self._errors and self._short):
                return jumped
            self._stop_jumping()
        found: Iterable[tuple[int, VideoFrame]] = (
            ((index, self._kept[index]) for index in indices if index < len(self._kept))
            if self._kept
            else self._passed(indices)
        )
        return {index: self._picture(index, frame) for index, frame in found}

    def second(self, index: int) -> float | None:
        return self._second(index, self._kept[index]) if self._kept else _clock(self._scan, index)

    def _passed(self, indices: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        wanted, index = set(indices), -1
        with open_container(self._file, self._scan.container) as source:
            for index, frame in enumerate(self._decoded(source)):
                if index in wanted:
                    yield index, frame
                if index == indices[-1]:
                    return
        if index < 0:
            raise UnsupportedVideoError("unreadable")
        self._num_frames = index + 1

    def _jumped_to(self, indices: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Ends early at a frame that does not come with the timestamp it should have, or after a jump to one
        that is no key, or elsewhere in the file: indices can lie, and AVIs have no timestamps but theirs.
        """
        pts, keys, at = self._scan.pts, list(self._scan.keys), -1
        wanted = {pts[index] for index in indices}
        with open_container(self._file, self._scan.container) as source:
            track = source.streams[self._scan.stream]
            frames: Iterator[VideoFrame] = self._decoded(source, wanted)
            for index in indices:
                nearest = bisect.bisect_right(keys, index) - 1
                if nearest >= 0 and keys[nearest] > at + 1:
                    source.seek(pts[keys[nearest]], stream=track)
                    frames = self._decoded(source, wanted, landing=self._scan.keys[keys[nearest]])
                    first = next(frames, None)
                    if first is None or not first.key_frame:
                        return
                    frames = itertools.chain([first], frames)
                frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= pts[index]), None)
                if frame is None or frame.pts != pts[index]:
                    return
                at = index
                yield index, frame

    def _decoded(
        self, source: InputContainer, wanted: Collection[int] | None = None, *, landing: int | None = None
    ) -> Iterator[VideoFrame]:
        """The frames that follow; with timestamps, those alone and what they are made of, for codecs that tell.

        Args:
            landing: where in the file the next packet must be, or there are none: an index can lie.
        """
        import av

        track = select_video_stream(source, self._scan.stream)
        headless = self._scan.num_headless > 0  # until the first frame comes
        skips = wanted is not None and track.codec_context.name in SKIPPING
        for packet in iter_packets(source, track, damaged=self._count_error):
            if landing not in (None, packet.pos):
                return
            landing = None
            if skips:
                track.codec_context.skip_frame = "DEFAULT" if packet.pts in (wanted or ()) else "NONREF"
            try:
                frames = packet.decode()
            except av.EOFError:
                return
            except OUT_OF_MEMORY:
                raise
            except av.FFmpegError:
                if not headless and not is_filler(packet, track.codec_context.name):
                    self._count_error()
                continue
            for frame in frames:
                if frame.width * frame.height > self._limits.source_pixels:
                    raise UnsupportedVideoError("large", frame.width, frame.height)
                if frame.pts is not None and frame.pts < self._first:
                    continue  # broken, as what it is made of is missing
                headless = False
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
            return _clock(self._scan, index)
        return None if frame.time is None else _since(self._scan.start, frame.time)


def _clock(scan: Scan, index: int) -> float | None:
    """Seconds of a frame, where packets tell."""
    if index < len(scan.pts):
        return _since(scan.start, float(scan.pts[index] * scan.time_base))
    return None


def _since(start: float, moment: float) -> float:
    """Seconds, to the microsecond, which is as exactly as FFmpeg tells the start; and no -0.0."""
    return round(moment - start, 6) + 0.0


def _fps(scan: Scan) -> float | None:
    if not scan.pts:
        return None
    if scan.container.constant_rate:
        return scan.rate
    seconds = float((scan.pts[-1] - scan.pts[0]) * scan.time_base)
    return (len(scan.pts) - 1) / seconds if seconds > 0 else scan.rate


def decord_works() -> bool:
    """There is no wheel of decord for ARM."""
    try:
        import decord  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


def load_pyav() -> None:
    """Loads all of PyAV, of which it loads parts only when a file needs them; nothing can be loaded later."""
    import av

    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in ("av.__main__", "av.datasets"):  # no parts of the library
            importlib.import_module(module.name)
