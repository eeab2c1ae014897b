"""Something that a browser can play, for a file that it cannot.

Whether it can is read from the file itself: the container's first bytes and the codec that it names.
Nothing is decoded for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from hmdb.errors import VideoError
from hmdb.video import Video, VideoLike, open_video

PREVIEW_SECONDS = 12  # at most, from the start of the video
PREVIEW_FPS = 12  # at most
PREVIEW_SIDE = 320  # pixels of the longer side, at most
BATCH = 24  # frames decoded at once
CODECS = ("libx264", "libvpx")  # the first that this build of FFmpeg has: H.264 in mp4, VP8 in webm
HEAD = 64 * 2**10  # bytes in which a webm names its codecs
MOOV = 16 * 2**20  # bytes of an mp4's index that are read, at most

PLAYED_IN_MP4 = (b"avc1", b"avc3", b"av01", b"vp09")
PLAYED_IN_WEBM = (b"V_VP8", b"V_VP9", b"V_AV1")
PLAYED_H264_PROFILES = (66, 77, 88, 100)  # with 4:2:0 chroma and 8 bits; browsers show no others


def plays_in_browser(path: str | Path) -> bool:
    """Whether current browsers play this file: H.264, VP9 or AV1 in mp4; VP8, VP9 or AV1 in webm.

    The file's suffix must fit too, since a server tells the browser by that what it gets.
    """
    path = Path(path)
    if path.suffix.lower() not in {".mp4", ".m4v", ".webm"} or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD)
        if head.startswith(b"\x1a\x45\xdf\xa3"):  # EBML
            return b"webm" in head[:64] and any(codec in head for codec in PLAYED_IN_WEBM)
        if head[4:8] == b"ftyp" and head[8:12] != b"qt  ":
            return any(_plays(entry) for entry in _video_entries(_moov(file)))
    return False


def make_preview(path: VideoLike, target: str | Path, *, seconds: float = PREVIEW_SECONDS) -> Path:
    """Writes the beginning of a video, small and without sound, as a file that browsers play.

    A folder of frames is shown at PREVIEW_FPS.

    Args:
        path: of the video, or a `Video` that is open.
        target: where to write; the suffix is replaced by ".mp4", or ".webm" where there is no H.264 encoder.
        seconds: of the video to show, at most.

    Returns:
        Where it was written.

    Raises:
        VideoError: the video cannot be read, or nothing can be encoded here.
    """
    video = open_video(path)
    codec = next((name for name in CODECS if _can_encode(name)), None)
    if codec is None:
        raise VideoError("This build of FFmpeg can encode neither H.264 nor VP8, so there is no preview.")
    target = Path(target).with_suffix(".mp4" if codec == "libx264" else ".webm")
    video.counted(lambda num_frames: _write(video, target, codec, _shown(video, num_frames, seconds)))
    return target


def _write(video: Video, target: Path, codec: str, shown: tuple[list[int], float]) -> None:
    import av

    indices, rate = shown
    width, height = _small(*video.size)
    options = {"movflags": "+faststart"} if codec == "libx264" else {}
    try:
        with av.open(str(target), "w", options=options) as container:
            stream = cast(av.VideoStream, container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000)))
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.options = {"crf": "28", "preset": "veryfast"} if codec == "libx264" else {"crf": "30", "b": "600k"}
            for pixels in _frames(video, indices):
                small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(small), format="rgb24")))
            container.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"The preview {target.name} cannot be written.") from error


def _shown(video: Video, num_frames: int, seconds: float) -> tuple[list[int], float]:
    """Which frames a preview shows, and how many a second."""
    fps = video.fps or PREVIEW_FPS
    step = max(fps / PREVIEW_FPS, 1.0)
    count = max(min(int(seconds * fps), num_frames), 1)
    return [int(i * step) for i in range(max(int(count / step), 1))], fps / step


def _frames(video: Video, indices: list[int]) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), BATCH):
        yield from video.frames_at(indices[start : start + BATCH]).pixels


def _small(width: int, height: int) -> tuple[int, int]:
    """The size of the preview: even numbers, as 4:2:0 chroma needs them."""
    scale = min(PREVIEW_SIDE / max(width, height), 1.0)
    return max(round(width * scale / 2) * 2, 2), max(round(height * scale / 2) * 2, 2)


def _can_encode(name: str) -> bool:
    import av

    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box of an mp4's index (ISO/IEC 14496-12, 4.2)."""
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size < 8:
            return
        yield data[place + 4 : place + 8], data[place + 8 : place + size]
        place += size


def _moov(file: BinaryIO) -> bytes:
    """The content of the index, wherever in the file it is; empty if there is none."""
    place = 0
    while True:
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            return b""
        size, start = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, start = int.from_bytes(head[8:16], "big"), 16
        if head[4:8] == b"moov":
            file.seek(place + start)
            return file.read(min(size - start, MOOV) if size else MOOV)
        if size < start:  # 0: this box is the rest of the file
            return b""
        place += size


def _video_entries(moov: bytes) -> Iterator[bytes]:
    """The sample entries of the video tracks: what names the codec."""
    for name, track in _boxes(moov):
        if name != b"trak":
            continue
        media = dict(_boxes(dict(_boxes(track)).get(b"mdia", b"")))
        if media.get(b"hdlr", b"")[8:12] == b"vide":
            table = dict(_boxes(dict(_boxes(media.get(b"minf", b""))).get(b"stbl", b"")))
            yield table.get(b"stsd", b"")[8:]


def _plays(entry: bytes) -> bool:
    name = entry[4:8]
    if name in (b"avc1", b"avc3"):
        configuration = entry.find(b"avcC")
        return configuration >= 0 and entry[configuration + 5 : configuration + 6] in map(_byte, PLAYED_H264_PROFILES)
    return name in PLAYED_IN_MP4


def _byte(value: int) -> bytes:
    return bytes((value,))
