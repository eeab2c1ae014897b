"""Small videos for tests. Each frame shows its own number, so that "the right frame" can be asserted.

write_video(path, num_frames=30)
assert read_numbers(open_video(path).frames_at([3, 17]).pixels) == [3, 17]
"""

from __future__ import annotations

import itertools
import json
import random
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av import VideoStream

from hmdb.machine import give_up_real_time
from tests.support.paths import ROOT

BITS = 10  # numbers up to 1023
DARK, BRIGHT = 40, 215
VOP = b"\x00\x00\x01\xb6"  # start code of an MPEG-4 picture
TOP_COLOR = (200, 80, 60)  # RGB of the upper half, so that a turned or miscoloured picture shows


def draw_number(index: int, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """Draws a frame, uint8 RGB (H, W, 3). The lower half holds the number in BITS upright bars, bright for 1 and dark
    for 0, the highest bit first; the upper half is red, with a patch that moves.
    """
    width, height = size
    picture = np.full((height, width, 3), TOP_COLOR, np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        shade = BRIGHT if index >> (BITS - 1 - bit) & 1 else DARK
        picture[height // 2 :, edges[bit] : edges[bit + 1]] = shade
    left = index * 5 % max(width - 8, 1)
    picture[height // 8 : height // 4, left : left + 8] = (60, 200, 80)
    return picture


def read_number(picture: np.ndarray) -> int:
    """Reads the number of a frame, of any size."""
    height, width = picture.shape[:2]
    row = picture[height * 3 // 4].mean(-1)
    edges = np.linspace(0, width, BITS + 1)
    middles = [row[int((left + right) / 2)] for left, right in itertools.pairwise(edges)]
    return sum((middle > (DARK + BRIGHT) / 2) << (BITS - 1 - bit) for bit, middle in enumerate(middles))


def read_numbers(pictures: Iterable[np.ndarray]) -> list[int]:
    return [int(read_number(picture)) for picture in pictures]


ENCODER_TRIES, ENCODER_SECONDS = 3, 60  # one second as a rule


def write_video(
    path: Path,
    *,
    num_frames: int = 30,
    size: tuple[int, int] = (160, 120),
    fps: int = 25,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    format: str | None = None,  # noqa: A002 - as PyAV calls it
    rotation: int = 0,
    milliseconds: Sequence[int] | None = None,
    max_b_frames: int | None = None,
    sound: bool = False,
) -> Path:
    """Writes a video of numbered frames; returns its path.

    SVT-AV1 makes its process real-time and now and then waits for itself for good, so it runs in a child, which is
    given ENCODER_TRIES.

    Args:
        codec: FFmpeg's encoder: libx264, mpeg4, libvpx, libvpx-vp9, mpeg2video, mjpeg, gif, ...
        options: the encoder's, such as {"g": "250", "bf": "2"}.
        container_options: the muxer's, such as {"movflags": "faststart"}.
        format: the muxer; by default that of the suffix.
        rotation: degrees counterclockwise that a player turns the picture by.
        milliseconds: timestamps of the frames; by default index / fps.
        sound: adds a silent audio track.
    """
    arguments = {name: value for name, value in locals().items() if name != "path"}
    if codec == "libsvtav1" and __name__ != "__main__":
        command = [sys.executable, "-m", "tests.support.videos", str(path.resolve()), json.dumps(arguments)]
        for tries_left in reversed(range(ENCODER_TRIES)):
            try:
                subprocess.run(command, cwd=ROOT, check=True, timeout=ENCODER_SECONDS)
            except subprocess.TimeoutExpired:
                if not tries_left:
                    raise
            else:
                break
        return path
    rate = 1000 if milliseconds else fps
    with av.open(str(path), "w", format=format, options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        if max_b_frames is not None:
            stream.codec_context.max_b_frames = max_b_frames
        if rotation:
            stream.set_display_rotation(rotation)
        hearing = container.add_stream("aac" if path.suffix in {".mp4", ".mov"} else "libopus") if sound else None
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(draw_number(index, size), format="rgb24")
            frame.pts = milliseconds[index] if milliseconds else index
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if hearing is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="flt", layout="mono")
            silence.sample_rate = 48000
            container.mux(hearing.encode(silence))
            container.mux(hearing.encode())
    return path


def write_sound(path: Path) -> Path:
    """Writes a second of silence, without a picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return path


def remux(source: Path, path: Path, *, start: int = 0, options: Mapping[str, str] | None = None) -> Path:
    """Copies the packets of a video, like a trim without encoding: those before the frame `start` are kept, and mp4
    and mov hide them with an edit list.
    """
    with av.open(str(source)) as whole, av.open(str(path), "w", options=dict(options or {})) as part:
        track = whole.streams.video[0]
        copy = part.add_stream_from_template(track, opaque=True)
        base = Fraction(track.time_base or 1)
        offset = round(start / Fraction(track.average_rate or 25) / base)
        for packet in whole.demux(track):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts -= offset
            packet.dts -= offset
            packet.stream = copy
            part.mux(packet)
    return path


def trim(source: Path, path: Path, *, first: int, num_frames: int, fps: int = 25) -> Path:
    """Trims an mp4 like a phone: only the edit list changes, at both ends."""
    data = bytearray(source.read_bytes())
    edit, movie, media = (data.find(name) for name in (b"elst", b"mvhd", b"mdhd"))
    movie_rate, media_rate = (int.from_bytes(data[at + 16 : at + 20]) for at in (movie, media))
    media_start = int.from_bytes(data[edit + 16 : edit + 20]) + first * media_rate // fps
    data[edit + 12 : edit + 20] = struct.pack(">II", num_frames * movie_rate // fps, media_start)
    path.write_bytes(data)
    return path


def drop_first_packets(source: Path, path: Path, num_packets: int) -> Path:
    """Copies a video without its first packets, like a recording that begins between key frames."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as part:
        track = whole.streams.video[0]
        copy = part.add_stream_from_template(track, opaque=True)
        for packet in itertools.islice(whole.demux(track), num_packets, None):
            if packet.dts is not None:
                packet.stream = copy
                part.mux(packet)
    return path


def set_matrix(source: Path, path: Path, matrix: Sequence[int]) -> Path:
    """Sets the display matrix of an mp4: a, b, c, d of (x, y) -> (ax + cy, bx + dy)."""
    data = bytearray(source.read_bytes())
    at = data.find(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def shuffle_cues(source: Path, path: Path) -> Path:
    """Breaks the index of a Matroska file: each key frame gets the position of the next."""
    data = bytearray(source.read_bytes())
    _, cues, end = _matroska_element(data, data.rfind(b"\x1c\x53\xbb\x6b"), id_length=4)
    places = [(cues, end)]
    for name in (0xBB, 0xB7, 0xF1):  # CuePoint, CueTrackPositions, CueClusterPosition
        places = [
            (start, end) for outer in places for id_, start, end in _matroska_elements(data, *outer) if id_ == name
        ]
    longest = max(end - start for start, end in places)
    places = [(start, end) for start, end in places if end - start == longest]  # a number takes as few bytes as it can
    assert len(places) > 3
    values = [bytes(data[start:end]) for start, end in places]
    for (start, end), value in zip(places, [*values[1:], values[0]], strict=True):
        data[start:end] = value
    path.write_bytes(data)
    return path


def _matroska_elements(data: bytearray, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields the ID (of one byte) and the start and end of the content of each element from start to end."""
    while start < end:
        element = _matroska_element(data, start, id_length=1)
        yield element
        start = element[2]


def _matroska_element(data: bytearray, at: int, id_length: int) -> tuple[int, int, int]:
    place = at + id_length
    size_length = 9 - data[place].bit_length()
    size = int.from_bytes(data[place : place + size_length]) & ((1 << 7 * size_length) - 1)
    start = place + size_length
    return int.from_bytes(data[at:place]), start, start + size


def shift_index(source: Path, path: Path) -> Path:
    """Breaks the index of an AVI: each packet gets the position of the one before."""
    data = bytearray(source.read_bytes())
    index = data.rfind(b"idx1")
    start, end = index + 8, index + 8 + int.from_bytes(data[index + 4 : index + 8], "little")
    entries = [data[at : at + 16] for at in range(start, end, 16)]
    for number, before in enumerate([entries[0], *entries[:-1]]):
        entries[number] = entries[number][:8] + before[8:]
    data[start:end] = b"".join(entries)
    path.write_bytes(data)
    return path


def mark_all_keyframes(path: Path) -> Path:
    """Breaks the index of an AVI, in place: every packet is marked as a key frame."""
    data = bytearray(path.read_bytes())
    index = data.rfind(b"idx1")
    for entry in range(index + 8, index + 8 + int.from_bytes(data[index + 4 : index + 8], "little"), 16):
        data[entry + 4] |= 0x10
    path.write_bytes(data)
    return path


def cut_to_keyframe(source: Path, path: Path, index: int) -> Path:
    """Copies a video from the first key packet after `index` packets on."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as part:
        track = whole.streams.video[0]
        copy = part.add_stream_from_template(track)
        rest = [packet for packet in whole.demux(track) if packet.size][index:]
        rest = list(itertools.dropwhile(lambda packet: not packet.is_keyframe, rest))
        first = min(packet.pts or 0 for packet in rest)
        for packet in rest:
            packet.pts, packet.dts = (packet.pts or 0) - first, (packet.dts or 0) - first
            packet.stream = copy
            part.mux(packet)
    return path


def insert_packets(source: Path, path: Path, packets: Mapping[int, bytes]) -> Path:
    """Inserts packets into an AVI, each after the packet of that number."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as copy:
        track = whole.streams.video[0]
        base = track.time_base
        assert base is not None
        stream = copy.add_stream_from_template(track)
        time = 0
        for index, packet in enumerate(whole.demux(track)):
            extras: list[av.Packet[Any]] = [av.Packet(packets[index])] if index in packets else []
            for extra in (packet, *extras):
                if extra is packet and not packet.size:
                    continue
                extra.stream, extra.pts, extra.dts, extra.time_base = stream, None, time, base
                time += 1
                copy.mux(extra)
    return path


def pack_b_frames(source: Path, path: Path) -> Path:
    """Packs the B frames of an AVI like DivX: each into the packet of the frame before, with a filler in its place."""
    with av.open(str(source)) as whole:
        packets = [bytes(packet) for packet in whole.demux(whole.streams.video[0]) if packet.size]
    with av.open(str(source)) as whole, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for time, (here, following) in enumerate(itertools.pairwise([*packets, b""])):
            data = b"\x7f" if _is_b(here) else here + following if _is_b(following) else here
            if time == 0:
                data = data.replace(VOP, b"\x00\x00\x01\xb2DivX503b1393p" + VOP, 1)
            packet = av.Packet(data)
            packet.stream, packet.dts, packet.time_base = stream, time, Fraction(1, 25)
            copy.mux(packet)
    return path


def truncate(path: Path, share: float) -> Path:
    """Cuts off the end of a file, in place."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def scratch(path: Path, *, first: float = 0.4, last: float = 0.9, seed: int = 0) -> Path:
    """Replaces bytes in the middle of a file, in place."""
    data, rng = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(60):
        data[rng.randrange(int(len(data) * first), int(len(data) * last))] = rng.randrange(256)
    path.write_bytes(data)
    return path


def _is_b(packet: bytes) -> bool:
    at = packet.find(VOP)
    return at >= 0 and packet[at + 4] >> 6 == 2


if __name__ == "__main__":
    give_up_real_time()
    write_video(Path(sys.argv[1]), **json.loads(sys.argv[2]))
