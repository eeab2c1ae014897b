import http.server
import os
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from hmdb.errors import VideoError
from hmdb.video import open_video
from hmdb.video.sniff import sniff
from tests.support.videos import write_sound, write_video

TS = b"\x47\x40\x00\x10" + bytes(184)
REFUSED = {
    "text.mp4": (b"hello there, no video here", "cannot be read as a video"),
    "page.mp4": (b"<!DOCTYPE html><html></html>", "cannot be read as a video"),
    "zip.mp4": (b"PK\x03\x04" + bytes(100), "cannot be read as a video"),
    "short.mp4": (b"\x00", "cannot be read as a video"),
    "empty.mp4": (b"", "is empty"),
    "hls.mp4": (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "is a list of other files"),
    "hls2.mp4": (b"\xef\xbb\xbf\n #EXTM3U\n", "is a list of other files"),
    "concat.mp4": (b"ffconcat version 1.0\nfile /etc/passwd\n", "is a list of other files"),
    "dash.mp4": (b"<?xml version='1.0'?><MPD></MPD>", "is a list of other files"),
    "session.mp4": (b"v=0\r\nc=IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\n", "is a list of other files"),
    "photo.mp4": (b"\xff\xd8\xff\xe0" + bytes(50), "is a JPEG picture"),
    "screen.mp4": (b"\x89PNG\r\n\x1a\n" + bytes(8) + b"IHDR" + bytes(20) + b"IDAT", "is a PNG picture"),
    "anim.webp": (b"RIFF\x00\x01\x00\x00WEBPVP8X", "is a picture"),
    "iphone.mov": (b"\x00\x00\x00\x18ftypheic", "is a picture"),
    "song.mp4": (b"ID3\x04" + bytes(50), "is a sound recording"),
    "sound.mp4": (b"RIFF\x00\x01\x00\x00WAVEfmt ", "is a sound recording"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    data, reason = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(VideoError) as error:
        open_video(path)
    text = str(error.value)
    assert text.startswith(name)
    assert reason in text
    assert "\n" not in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("head", "demuxer"),
    [
        (b"\x00\x00\x00\x20ftypisom", "mov"),
        (b"\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", "mov"),
        (b"\x1a\x45\xdf\xa3\x9f", "matroska"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "avi"),
        (TS * 5, "mpegts"),
        (bytes(50) + TS * 5, "mpegts"),
        ((b"\x00\x00\x00\x00" + TS) * 5, "mpegts"),
        (b"\x00\x00\x01\xba\x44", "mpeg"),
        (b"\x00\x00\x00\x01\x67\x64", "h264"),
        (b"\x00\x00\x00\x01\x40\x01", "hevc"),
        (b"\x89PNG\r\n\x1a\n" + bytes(8) + b"IHDR" + bytes(20) + b"acTL" + bytes(8) + b"IDAT", "apng"),
        (b"GIF89a", "gif"),
        (b"FLV\x01\x05", "flv"),
    ],
)
def test_containers_are_detected_by_their_first_bytes(tmp_path: Path, head: bytes, demuxer: str) -> None:
    path = tmp_path / "clip.txt"
    path.write_bytes(head)
    assert sniff(path).demuxer == demuxer


def test_decord_gets_no_ambiguous_file(tmp_path: Path) -> None:
    path = tmp_path / "wide.mov"
    path.write_bytes(b"\x00\x00\x00\x08wide\x00\x00\x00\x10mdat")
    assert not sniff(path).decord


def test_a_video_without_a_picture_track_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"^sound\.mp4 has no picture track"):
        open_video(write_sound(tmp_path / "sound.mp4"))


def test_invalid_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"^gone\.mp4: there is no such file"):
        open_video(tmp_path / "gone.mp4")
    with pytest.raises(VideoError, match="is not a valid file name"):
        open_video(f"{tmp_path}/a\0b.mp4")
    with pytest.raises(VideoError, match="cannot be opened: File name too long"):
        open_video(tmp_path / ("a" * 300))
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match=r"^pipe\.mp4 is not a file"):
        open_video(tmp_path / "pipe.mp4")


def test_control_characters_in_a_file_name(tmp_path: Path) -> None:
    path = tmp_path / ("new\nline" + "y" * 200 + ".mp4")
    path.write_bytes(b"text")
    with pytest.raises(VideoError) as error:
        open_video(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("name", ["% d.mp4", "ümläut é.mp4", "-rf.mp4", "http:a.mp4", "a|b;c'd\".mp4", "name"])
def test_special_characters_in_a_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_video(tmp_path / "plain.mp4", num_frames=3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert open_video(name).num_frames == 3


class RequestRecorder(http.server.BaseHTTPRequestHandler):
    """Records the paths of requests."""

    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.mark.parametrize(
    "front",
    [b"", b"G" + bytes(187), b"\x00\x00\x00\x14ftypisom" + bytes(8), b"\x00\x00\x00\x40free", b"\x00\x00\x01\xba"],
    ids=["list", "ts", "ftyp", "free", "ps"],
)
def test_addresses_in_a_file_are_not_requested(tmp_path: Path, front: bytes) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), RequestRecorder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/part.ts"
        hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n"
        dash = f"<?xml version='1.0'?><MPD><BaseURL>{address}</BaseURL></MPD>"
        path = tmp_path / "clip.mp4"
        for text in (hls, dash):
            path.write_bytes(front + text.encode())
            with pytest.raises(VideoError):
                open_video(path)
        server.shutdown()
        thread.join()
    assert RequestRecorder.paths == []
