"""Decodes with decord, the faster decoder for short GOPs."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import numpy as np

from hmdb.video.limits import Limits
from hmdb.video.protocol import DECORD, StreamInfo
from hmdb.video.worker.decoders import DecoderUnsuitableError, Picture, mean_fps, timestamp
from hmdb.video.worker.demux import iter_packets, open_container, select_video_stream
from hmdb.video.worker.scan import Scan

BATCH = 16  # frames that decord is asked for at once


class DecordReader:
    """decord with one thread: more give wrong frames for VP9.

    Args:
        stderr_watch: returns True if anything was written to stderr since the last call.
    """

    def __init__(self, file: BinaryIO, scan: Scan, limits: Limits, stderr_watch: Callable[[], bool]) -> None:
        self._scan = scan
        self._size = limits.fitted(scan.width, scan.height)
        self._stderr_watch = stderr_watch
        self._file = file
        self._checked_keys: set[int] = set()  # keys that the index of the file leads to
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
    def info(self) -> StreamInfo:
        width, height = self._size
        return StreamInfo(
            num_frames=self._scan.num_frames,
            fps=mean_fps(self._scan),
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
        self._stderr_watch()
        try:
            found = dict(self._read(indices))
            # It decodes beyond the last requested frame, whole minutes, into memory and while the network runs;
            # a seek ends that.
            self._reader.seek(0)
        except Exception as error:  # decord raises its own errors, RuntimeError and IndexError
            _raise_if_out_of_memory(error)
            raise DecoderUnsuitableError("decord cannot decode it") from error
        if self._stderr_watch():
            raise DecoderUnsuitableError("decord reports damage")
        for pixels in found.values():
            if pixels.shape != (self._size[1], self._size[0], 3):
                raise DecoderUnsuitableError(f"decord returns frames of shape {pixels.shape}")
        return {index: (pixels, timestamp(self._scan, index)) for index, pixels in found.items()}

    def second(self, index: int) -> float | None:
        return timestamp(self._scan, index)

    def _check_index(self, indices: Sequence[int]) -> None:
        """Seeks as decord will, which trusts the index of a file; mp4 and mov have no other timestamps.

        Raises:
            DecoderUnsuitableError: the index leads elsewhere.
        """
        if self._scan.container.demuxer == "mov":
            return
        pts, keys = self._scan.pts, list(self._scan.keys)
        needed = {keys[max(bisect.bisect_right(keys, index) - 1, 0)] for index in indices} - self._checked_keys
        with open_container(self._file, self._scan.container) as source:
            stream = source.streams[self._scan.stream]
            for key in needed:
                source.seek(pts[key], stream=stream)
                packet = next(iter_packets(source, select_video_stream(source, self._scan.stream)), None)
                if packet is None or packet.pts != pts[key]:
                    raise DecoderUnsuitableError("its index is wrong")
        self._checked_keys |= needed

    def _read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(indices), BATCH):
            batch = list(indices[start : start + BATCH])
            yield from zip(batch, self._reader.get_batch(batch).asnumpy(), strict=True)


def _raise_if_out_of_memory(error: Exception) -> None:
    """Raises MemoryError if decord's message, from C++ or FFmpeg, is about a lack of memory."""
    if isinstance(error, MemoryError) or re.search("bad_alloc|[Cc]annot allocate memory|[Oo]ut of memory", str(error)):
        raise MemoryError(f"decord: {error}"[:200]) from error
