"""Detects the container of a file by its first bytes. A format that is not on the list is refused, whatever the suffix.

Playlists and other texts are refused above all: they name files and addresses, which FFmpeg opens (SSRF, local files).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from pathlib import Path

from hmdb.errors import VideoError
from hmdb.text import display_name

HEAD = 4096  # bytes that are read
ADVICE = "Try an mp4, webm, mov or avi file with a picture track."


@dataclass(frozen=True)
class Container:
    """A container format.

    Attributes:
        demuxer: FFmpeg's name for it. PyAV may use this one only.
        seekable: frames can be seeked to by their timestamps.
        decord: decord may read the file. It cannot be told the demuxer, so only where FFmpeg's own guess is
            certain; and it is right only where it can seek.
        own_clock: the clock starts at zero by definition; else at the first timestamp.
        constant_rate: there are no timestamps, only a rate: AVI.
        name: its common name where a demuxer reads several: "mp4" or "mov", "webm" or "matroska".
        suffixes: of files that people keep in it.
    """

    demuxer: str
    seekable: bool = False
    decord: bool = False
    own_clock: bool = True
    constant_rate: bool = False
    name: str = ""
    suffixes: tuple[str, ...] = ()


MOV = Container(
    "mov", seekable=True, decord=True, suffixes=(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mj2")
)
CONTAINERS = {
    container.demuxer: container
    for container in (
        MOV,
        Container("matroska", seekable=True, decord=True, suffixes=(".mkv", ".webm", ".mk3d")),
        Container("flv", seekable=True, decord=True, suffixes=(".flv",)),
        Container("avi", constant_rate=True, suffixes=(".avi", ".divx")),
        Container("asf", suffixes=(".wmv", ".asf")),
        Container("ogg", suffixes=(".ogv", ".ogg", ".ogm")),
        Container("gif", suffixes=(".gif",)),
        Container("apng", suffixes=(".apng",)),
        Container("ivf", suffixes=(".ivf",)),
        Container("obu", suffixes=(".obu",)),
        Container("nut", suffixes=(".nut",)),
        Container("rm", suffixes=(".rm", ".rmvb")),
        Container("dv", own_clock=False, suffixes=(".dv", ".dif")),
        Container("mxf", suffixes=(".mxf",)),
        Container("gxf", own_clock=False, suffixes=(".gxf",)),
        Container("wtv", own_clock=False, suffixes=(".wtv",)),
        Container("yuv4mpegpipe", suffixes=(".y4m",)),
        Container("mpegts", own_clock=False, suffixes=(".ts", ".mts", ".m2ts", ".m2t", ".tod")),
        Container("mpeg", own_clock=False, suffixes=(".mpg", ".mpeg", ".vob", ".mod", ".evo")),
        Container("mpegvideo", own_clock=False, suffixes=(".m1v", ".m2v", ".mpv")),
        Container("m4v", own_clock=False),
        Container("h264", own_clock=False, suffixes=(".h264", ".264", ".avc")),
        Container("hevc", own_clock=False, suffixes=(".hevc", ".h265", ".265")),
    )
}
VIDEO_SUFFIXES = frozenset(suffix for container in CONTAINERS.values() for suffix in container.suffixes)
PREFIXES = (
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"FLV\x01", "flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"OggS", "ogg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"DKIF", "ivf"),
    (b"\x12\x00\x0a", "obu"),
    (b"nut/multimedia container\x00", "nut"),
    (b".RMF\x00\x00", "rm"),
    (b"\x1f\x07\x00", "dv"),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01", "mxf"),
    (b"\x00\x00\x00\x00\x01\xbc", "gxf"),
    (b"\xb7\xd8\x00\x20\x37\x49\xda\x11\xa6\x4e\x00\x07\xe9\x5e\xad\x8d", "wtv"),
    (b"YUV4MPEG2 ", "yuv4mpegpipe"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpegvideo"),
    (b"\x00\x00\x01\xb0", "m4v"),
)
BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx"})
PICTURES = ((b"\xff\xd8\xff", "a JPEG"), (b"\x89PNG\r\n\x1a\n", "a PNG"), (b"BM", "a BMP"), (b"II*\x00", "a TIFF"))
PICTURE_BRANDS = frozenset({b"heic", b"heix", b"mif1", b"msf1", b"avif"})
SOUNDS = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"fLaC", b"#!AMR")
PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<?xml", b"<MPD", b"<asx", b"[Reference]", b"v=0", b"RTSPtext")


def sniff(path: Path) -> Container:
    """Detects the container of a file.

    Raises:
        VideoError: it is missing, empty, not a file, or in a format that is refused.
    """
    name = display_name(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VideoError(f"{name}: there is no such file.") from error
    except ValueError as error:  # a null byte
        raise VideoError(f"{name} is not a valid file name.") from error
    if not stat.S_ISREG(mode):
        raise VideoError(f"{name} is not a file.")
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise VideoError(f"{name} is empty (0 bytes).")
    demuxer = _demuxer(head)
    if demuxer is None:
        raise VideoError(f"{name} {_refusal(head)}. {ADVICE}")
    container = replace(CONTAINERS[demuxer], name=_name(demuxer, head))
    certain = demuxer != "mov" or head[4:8] in (b"ftyp", b"moov")
    if container.decord and not certain:
        return replace(container, decord=False)
    return container


def _demuxer(head: bytes) -> str | None:
    for prefix, demuxer in PREFIXES:
        if head.startswith(prefix):
            return demuxer
    if head[4:8] in BOXES:
        return None if head[4:8] == b"ftyp" and head[8:12] in PICTURE_BRANDS else "mov"
    if head[:4] in (b"RIFF", b"ON2 ") and head[8:12] in (b"AVI ", b"AVIX", b"ON2f"):
        return "avi"
    if head.startswith(PICTURES[1][0]):
        return "apng" if b"acTL" in head[: head.find(b"IDAT")] else None
    return _raw_stream(head) or ("mpegts" if _is_transport_stream(head) else None)


def _name(demuxer: str, head: bytes) -> str:
    match demuxer:
        case "mov":
            return "mp4" if head[4:8] == b"ftyp" and head[8:12] != b"qt  " else "mov"
        case "matroska":
            return "webm" if b"webm" in head[:64] else "matroska"
    return demuxer


def _raw_stream(head: bytes) -> str | None:
    """Detects H.264 or HEVC without a container: a start code, then the parameter sets or a delimiter."""
    start = head.removeprefix(b"\x00")[:5]
    if not start.startswith(b"\x00\x00\x01") or len(start) < 5:
        return None
    if start[3] in (0x40, 0x42, 0x44, 0x46) and start[4] == 1:
        return "hevc"
    return "h264" if start[3] in (0x06, 0x09, 0x27, 0x47, 0x67) else None


def _is_transport_stream(head: bytes) -> bool:
    for length in (188, 192, 204):
        for offset in range(length):
            syncs = head[offset::length]
            if len(syncs) >= 4 and set(syncs) == {0x47}:
                return True
    return False


def _refusal(head: bytes) -> str:
    for prefix, kind in PICTURES:
        if head.startswith(prefix):
            return f"is {kind} picture, not a video"
    if head[8:12] == b"WEBP" or head[8:12] in PICTURE_BRANDS:
        return "is a picture, not a video"
    if head.startswith(SOUNDS) or head[8:12] == b"WAVE":
        return "is a sound recording without a video"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(PLAYLISTS):
        return "is a list of other files or addresses, which is not opened"
    return "cannot be read as a video"
