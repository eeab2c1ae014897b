"""Reads the composition offsets of a long mp4 or mov from its index.

FFmpeg's index has the decoding time of each packet; the presentation time comes only with the packet itself, at a
microsecond each, most of what an hour of video costs. The difference is a table of its own (ISO/IEC 14496-12, 8.6.1.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

MAX_INDEX = 64 * 2**20  # bytes
MAX_BOXES = 1000  # top-level boxes that are searched; a recording without fragments has a handful


def composition_offsets(file: BinaryIO, num_packets: int) -> np.ndarray | None:
    """Reads the presentation time minus the decoding time of each packet of the video track, in its time base.

    Returns:
        int64 (num_packets,); None for fragments, several video tracks, packets without a picture, or another
        number of packets.
    """
    index = _index(file)
    if index is None or any(name == b"mvex" for name, _ in _boxes(index)):
        return None
    tables = [table for name, track in _boxes(index) if name == b"trak" and (table := _sample_table(track))]
    if len(tables) != 1:
        return None
    (table,) = tables
    sizes, offsets = table.get(b"stsz", b""), table.get(b"ctts", b"")
    size_of_all, number, each = int.from_bytes(sizes[4:8]), int.from_bytes(sizes[8:12]), sizes[12:]
    if number != num_packets or not (size_of_all or len(each) >= 4 * number):
        return None
    if not size_of_all and not np.frombuffer(each, ">u4", number).all():
        return None
    if not offsets:
        return np.zeros(num_packets, np.int64)
    runs = np.frombuffer(offsets[8 : len(offsets) // 8 * 8], ">i4").reshape(-1, 2).astype(np.int64)
    counts = runs[:, 0]
    if (counts < 0).any() or counts.sum() != num_packets:
        return None
    return np.repeat(runs[:, 1], counts)


def _boxes(data: bytes | memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yields the name and content of each box."""
    rest = memoryview(data)
    while len(rest) >= 8:
        size = int.from_bytes(rest[:4])
        if not 8 <= size <= len(rest):
            return
        yield bytes(rest[4:8]), rest[8:size]
        rest = rest[size:]


def _index(file: BinaryIO) -> bytes | None:
    """Returns the content of the moov box; None if it is missing, too large or truncated, or behind too many boxes."""
    at, index = 0, None
    for _ in range(MAX_BOXES):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return index
        size, start, name = int.from_bytes(head[:4]), 8, head[4:8]
        if size == 1:
            size, start = int.from_bytes(head[8:16]), 16
        if name == b"moof" or (name == b"moov" and not start <= size <= MAX_INDEX):
            return None
        if name == b"moov":
            file.seek(at + start)
            index = file.read(size - start)
        if size < start:  # 0: this box is the rest of the file
            return index
        at += size
    return None


def _sample_table(track: memoryview) -> dict[bytes, memoryview]:
    """Returns the sample tables of a video track; none for another track."""
    media = dict(_boxes(dict(_boxes(track)).get(b"mdia", b"")))
    if bytes(media.get(b"hdlr", b"")[8:12]) != b"vide":
        return {}
    return dict(_boxes(dict(_boxes(media.get(b"minf", b""))).get(b"stbl", b"")))
