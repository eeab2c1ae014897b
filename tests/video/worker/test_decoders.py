import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from hmdb.video import open_video
from hmdb.video.limits import Limits
from hmdb.video.sniff import sniff
from hmdb.video.worker.decoders import since_start
from hmdb.video.worker.decord_reader import DecordReader
from hmdb.video.worker.pyav_reader import PyAVReader
from hmdb.video.worker.scan import scan
from hmdb.video.worker_pool import default_pool
from tests.support.videos import (
    TOP_COLOR,
    mark_all_keyframes,
    read_number,
    read_numbers,
    shift_index,
    shuffle_cues,
    write_video,
)

pytest.importorskip("decord")


# name -> how it is made, who reads it
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "plain.mp4": ({}, "decord"),
    "plain.mkv": ({"container_options": {"cluster_time_limit": "500"}}, "decord"),
    "fragments.mp4": ({"container_options": {"movflags": "frag_keyframe+empty_moov"}}, "decord"),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}, "decord"),
    "full range.mp4": ({"pixel_format": "yuvj420p"}, "decord"),
    "variable rate.mp4": ({"milliseconds": [i * 40 + i % 3 * 9 for i in range(30)]}, "decord"),
    "sound.mp4": ({"sound": True}, "decord"),
    "one.mp4": ({"num_frames": 1}, "decord"),
    "odd.mp4": ({"size": (161, 99), "pixel_format": "yuv444p"}, "decord"),
    "intra refresh.mp4": (
        {"num_frames": 60, "options": {"x264-params": "intra-refresh=1:keyint=20"}},
        "PyAV",
    ),
    "open gop.mp4": (
        {"codec": "libx265", "options": {"x265-params": "open-gop=1:keyint=10:min-keyint=5:log-level=none"}},
        "PyAV",
    ),
    "xvid.avi": ({"codec": "mpeg4", "options": {"g": "12"}, "max_b_frames": 0}, "PyAV"),
    "b-frames.avi": ({"codec": "mpeg4", "options": {"g": "12"}, "max_b_frames": 2}, "PyAV"),
    "mpeg-4.mp4": ({"codec": "mpeg4", "max_b_frames": 2}, "PyAV"),
    "mpeg-2.mov": ({"codec": "mpeg2video", "max_b_frames": 2}, "PyAV"),
    "windows.wmv": ({"codec": "wmv2"}, "PyAV"),
    "no duration.webm": ({"codec": "libvpx", "container_options": {"live": "1"}}, "PyAV"),
    "transport.ts": ({}, "PyAV"),
    "program.mpg": ({"codec": "mpeg2video", "format": "mpeg"}, "PyAV"),
    "raw.h264": ({}, "PyAV"),
    "moving.gif": ({"codec": "gif", "pixel_format": "rgb8"}, "PyAV"),
    "ten bits.mp4": ({"pixel_format": "yuv420p10le"}, "PyAV"),
    "tiny.mp4": ({"size": (16, 16)}, "PyAV"),
    "real.rm": ({"codec": "rv20", "size": (176, 144)}, "PyAV"),
    "tape.dv": ({"codec": "dvvideo", "size": (720, 576), "pixel_format": "yuv420p"}, "PyAV"),
    "broadcast.mxf": ({"codec": "mpeg2video", "options": {"g": "12"}, "max_b_frames": 2}, "PyAV"),
    "raw.obu": ({"codec": "libsvtav1", "options": {"preset": "10", "crf": "20"}, "format": "obu"}, "PyAV"),
    "some.nut": ({"codec": "mpeg4", "max_b_frames": 2}, "PyAV"),
    "server.gxf": ({"codec": "mpeg2video", "size": (720, 576)}, "PyAV"),
    "recorded.wtv": ({"codec": "mpeg2video"}, "PyAV"),
    "interlaced.m2t": (
        {"codec": "mpeg2video", "format": "mpegts", "options": {"flags": "+ilme+ildct", "g": "12"}, "max_b_frames": 2},
        "PyAV",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_the_right_frames_of_every_format(tmp_path: Path, name: str) -> None:
    options, decoder = KINDS[name]
    video = open_video(write_video(tmp_path / name, **options))
    num_frames = options.get("num_frames", 30)
    assert (video.num_frames, video.decoder, video.note) == (num_frames, decoder, None)
    indices = [29, 0, 7, 7, 28, 11] if num_frames >= 30 else [0, 0]
    frames = video.frames_at(indices)
    assert frames.pixels.shape == (len(indices), *video.size[::-1], 3)
    if name != "tiny.mp4":  # too small for numbers
        assert read_numbers(frames.pixels) == indices
        difference = np.abs(frames.pixels[0][3, 3].astype(int) - TOP_COLOR).max()
        assert difference <= (60 if name == "moving.gif" else 8)  # GIF has few colours
    again = video.frames_at([3 % num_frames])  # after a look further on, and without a look at all
    np.testing.assert_array_equal(again.pixels, open_video(tmp_path / name).frames_at([3 % num_frames]).pixels)


@pytest.mark.parametrize("name", [name for name, (_, decoder) in KINDS.items() if decoder != "PyAV"])
def test_both_decoders_give_the_same_frames(tmp_path: Path, name: str) -> None:
    path, limits = write_video(tmp_path / name, **KINDS[name][0]), Limits()
    with path.open("rb") as file:
        scanned = scan(file, sniff(path), limits)
        indices = range(0, scanned.num_frames, 4)
        by_decord = DecordReader(file, scanned, limits, lambda: False).frames(indices)
        by_pyav = PyAVReader(file, scanned, limits).frames(indices)
    for index in indices:
        (here, second), (there, other_second) = by_decord[index], by_pyav[index]
        assert np.abs(here.astype(int) - there).mean() < 2  # grey levels
        assert second == pytest.approx(other_second)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
def test_decord_stops_after_the_last_requested_frame(tmp_path: Path) -> None:
    options = {"g": "250", "preset": "ultrafast"}
    video = open_video(write_video(tmp_path / "long.mp4", num_frames=1000, size=(320, 240), options=options))

    def memory() -> int:
        return sum(psutil.Process(worker.pid).memory_info().rss for worker in default_pool().workers())

    def resting() -> bool:
        """Returns True once no thread of the workers has anything to do."""
        tasks = [task for worker in default_pool().workers() for task in Path(f"/proc/{worker.pid}/task").iterdir()]
        return all(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "S" for task in tasks)

    before = memory()
    video.frames_at([5, 100])
    assert video.decoder == "decord"
    while not resting():  # else decord decodes the rest: 115 MB
        time.sleep(0.05)
    assert memory() - before < 40e6


@pytest.mark.parametrize("size", [(160, 120), (640, 480)])  # one thread, and a slice for each
def test_frames_of_long_gops_are_the_right_ones(tmp_path: Path, size: tuple[int, int]) -> None:
    options = {"g": "250", "bf": "3", "preset": "ultrafast"}
    for frames, decoder in ((120, "decord"), (200, "PyAV")):
        video = open_video(write_video(tmp_path / f"{frames}.mp4", num_frames=frames, size=size, options=options))
        assert video.decoder == decoder
        indices = [*range(0, frames, 9), frames - 2, frames - 1]
        assert read_numbers(video.frames_at(indices).pixels) == indices
        assert read_numbers(video.frames_at(indices[:0:-2]).pixels) == indices[:0:-2]


def test_pyav_seeks_in_a_sound_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", num_frames=60, options={"g": "10"})
    with path.open("rb") as file:
        reader = PyAVReader(file, scan(file, sniff(path), Limits()), Limits())
        assert read_number(reader.frames([33])[33][0]) == 33
    assert not reader._kept


def num_keys(path: Path) -> int:
    with path.open("rb") as file:
        return len(scan(file, sniff(path), Limits()).keys)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pyav_seeks_to_the_nearest_clean_keyframe(tmp_path: Path, codec: str) -> None:
    options = {"g": "10", "x265-params": "open-gop=1:keyint=10:min-keyint=5:log-level=none"}
    path = write_video(tmp_path / "long.mp4", num_frames=100, codec=codec, options=options, pixel_format="yuv420p10le")
    video = open_video(path)
    indices = random.Random(0).sample(range(100), 30)
    assert read_numbers(video.frames_at(indices).pixels) == indices
    assert video.note is None
    assert num_keys(path) >= 10


def test_pyav_seeks_in_avis(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.avi", num_frames=100, codec="mpeg4", options={"g": "10"}, max_b_frames=0)
    indices = [95, 3, 40, 41, 77]
    assert read_numbers(open_video(path).frames_at(indices).pixels) == indices
    assert num_keys(path) >= 10


def test_all_frames_of_a_kept_video(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "long.ts", num_frames=500, max_b_frames=0))
    assert video.decoder == "PyAV"
    assert read_numbers(video.frames_at(range(500)).pixels) == list(range(500))


def test_an_index_with_false_keyframes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "all.avi", num_frames=60, codec="msmpeg4", options={"g": "20"}, max_b_frames=0)
    video = open_video(mark_all_keyframes(path))
    assert read_numbers(video.frames_at([33, 37]).pixels) == [33, 37]
    assert read_numbers(video.frames_at([0, 15, 30, 59]).pixels) == [0, 15, 30, 59]


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_an_index_with_wrong_positions(tmp_path: Path, codec: str) -> None:
    options = {"g": "10", "deadline": "realtime", "cpu-used": "8"}
    limit = {"cluster_time_limit": "300"}
    honest = write_video(tmp_path / "a.mkv", num_frames=90, codec=codec, options=options, container_options=limit)
    video = open_video(shuffle_cues(honest, tmp_path / "b.mkv"))
    assert [read_numbers(video.frames_at([index]).pixels) for index in (5, 33, 71)] == [[5], [33], [71]]
    assert open_video(honest).decoder == "decord"


def test_an_avi_index_with_wrong_positions(tmp_path: Path) -> None:
    honest = write_video(tmp_path / "a.avi", num_frames=90, codec="mpeg4", options={"g": "10"}, max_b_frames=0)
    video = open_video(shift_index(honest, tmp_path / "b.avi"))
    assert [read_numbers(video.frames_at([index]).pixels) for index in (5, 33, 71)] == [[5], [33], [71]]


def test_a_timestamp_just_before_the_start_is_zero() -> None:
    assert str(since_start(1.4, 1.3999997)) == "0.0"
    assert since_start(1.4, 1.44) == 0.04
