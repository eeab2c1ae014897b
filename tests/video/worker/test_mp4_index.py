from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmdb.video import open_video
from hmdb.video.limits import Limits
from hmdb.video.sniff import sniff
from hmdb.video.worker.mp4_index import composition_offsets
from hmdb.video.worker.packet_index import PacketIndex
from hmdb.video.worker.scan import Scan, scan
from tests.support.videos import drop_first_packets, read_numbers, remux, write_video


def scan_file(path: Path) -> Scan:
    with path.open("rb", buffering=0) as file:
        return replace(scan(file, sniff(path), Limits()), suits_decord=False)


def read_offsets(path: Path, num_packets: int) -> list[int] | None:
    with path.open("rb") as file:
        found = composition_offsets(file, num_packets)
    return None if found is None else found.tolist()


MADE: dict[str, dict[str, Any]] = {
    "b-frames.mp4": {"options": {"g": "12", "bf": "2"}},
    "in order.mp4": {"options": {"g": "12", "bf": "0"}},
    "variable rate.mp4": {"milliseconds": [i * 40 + i % 3 * 9 for i in range(60)]},
    "index first.mp4": {"container_options": {"movflags": "faststart"}},
    "quick time.mov": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "open gop.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "open-gop=1:keyint=10:min-keyint=5:log-level=none"},
    },
    "intra refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=20"}},
    "sound.mp4": {"sound": True},
    "recovery.mp4": {"options": {"x264-params": "open-gop=1:keyint=10:min-keyint=5"}},
}


@pytest.mark.parametrize("name", MADE)
def test_index_and_packets_agree(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / name, num_frames=60, **MADE[name])
    assert read_offsets(path, 60) is not None
    with monkeypatch.context() as only_index:
        only_index.delattr(PacketIndex, "add")  # no packets are counted
        from_index = scan_file(path)
    monkeypatch.setattr(PacketIndex, "load_from_mp4_index", lambda *_: False)
    assert scan_file(path) == from_index
    assert len(from_index.pts) == 60


def test_packets_are_counted_where_the_index_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_video(tmp_path / "whole.mp4", num_frames=60, options={"g": "12", "bf": "2"})
    fragments = write_video(
        tmp_path / "fragments.mp4", num_frames=60, container_options={"movflags": "frag_keyframe+empty_moov"}
    )
    paths = [
        fragments,
        remux(whole, tmp_path / "cut.mp4", start=17),
        drop_first_packets(whole, tmp_path / "headless.mp4", 3),
        tmp_path / "truncated.mp4",
        tmp_path / "lies.mp4",
    ]
    first = write_video(tmp_path / "first.mp4", num_frames=60, container_options={"movflags": "faststart"})
    data = first.read_bytes()
    paths[3].write_bytes(data[: len(data) * 2 // 3])
    table = data.find(b"ctts") + 12
    paths[4].write_bytes(data[: table + 4] + b"\x00\x01\x00\x00" + data[table + 8 :])
    found = list(map(scan_file, paths))
    monkeypatch.setattr(PacketIndex, "load_from_mp4_index", lambda *_: False)
    assert list(map(scan_file, paths)) == found
    assert read_offsets(fragments, 60) is None


def test_seeking_in_a_long_video_by_its_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"g": "12", "preset": "ultrafast"}
    path = write_video(tmp_path / "long.mp4", num_frames=3200, size=(160, 64), options=options)
    video = open_video(path)
    assert (video.num_frames, video.decoder, video.note) == (3200, "PyAV", None)
    indices = [0, 700, 701, 1000, 999]
    assert read_numbers(video.frames_at(indices).pixels) == indices
    seconds = video.frames_at([3199]).seconds
    assert seconds is not None
    assert seconds[0] == pytest.approx(3199 / 25)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00\x00\x08moov",
        b"\x00\x00\x00\x01moov" + b"\xff" * 8,
        b"\xff\xff\xff\xffmoov" + b"\x00" * 100,
        b"\x00\x00\x00\x00moov",
        b"\x00\x00\x00\x10moov\x00\x00\x00\x08trak",
    ],
    ids=range(6),
)
def test_an_invalid_index_has_no_offsets(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "some.mp4"
    path.write_bytes(data)
    assert read_offsets(path, 3) is None


def test_a_damaged_index_never_fails(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", num_frames=30, options={"bf": "2"})
    data, rng = whole.read_bytes(), np.random.default_rng(0)
    start = data.rfind(b"moov")
    for _ in range(300):
        damaged = bytearray(data)
        for at in rng.integers(start, len(data), 8):
            damaged[at] = rng.integers(256)
        whole.write_bytes(damaged)
        found = read_offsets(whole, 30)
        assert found is None or len(found) == 30
