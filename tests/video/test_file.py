import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import read_clip
from hmdb.errors import VideoError
from hmdb.video import open_video
from hmdb.video.limits import Limits
from hmdb.video.sniff import sniff
from hmdb.video.video import FrameCountChangedError
from hmdb.video.worker.decoders import DecordReader, PyAVReader, _since
from hmdb.video.worker.scan import scan
from hmdb.video.worker_pool import default_pool
from tests.support.videos import (
    TOP,
    behead,
    claim_keys,
    cut_before,
    insert_packets,
    number,
    numbers,
    packed,
    remux,
    set_matrix,
    shift_index,
    shuffle_cues,
    trim,
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
def test_the_right_frames_of_every_kind(tmp_path: Path, name: str) -> None:
    options, decoder = KINDS[name]
    video = open_video(write_video(tmp_path / name, **options))
    num_frames = options.get("num_frames", 30)
    assert (video.num_frames, video.decoder, video.note) == (num_frames, decoder, None)
    indices = [29, 0, 7, 7, 28, 11] if num_frames >= 30 else [0, 0]
    frames = video.frames_at(indices)
    assert frames.pixels.shape == (len(indices), *video.size[::-1], 3)
    if name != "tiny.mp4":  # too small for numbers
        assert numbers(frames.pixels) == indices
        difference = np.abs(frames.pixels[0][3, 3].astype(int) - TOP).max()
        assert difference <= (60 if name == "moving.gif" else 8)  # GIF has few colours
    again = video.frames_at([3 % num_frames])  # after a look further on, and without a look at all
    np.testing.assert_array_equal(again.pixels, open_video(tmp_path / name).frames_at([3 % num_frames]).pixels)


@pytest.mark.parametrize("name", [name for name, (_, decoder) in KINDS.items() if decoder != "PyAV"])
def test_both_decoders_give_the_same_frames(tmp_path: Path, name: str) -> None:
    path, limits = write_video(tmp_path / name, **KINDS[name][0]), Limits()
    with path.open("rb") as file:
        looked_at = scan(file, sniff(path), limits)
        indices = range(0, looked_at.num_frames, 4)
        by_decord = DecordReader(file, looked_at, limits, lambda: False).frames(indices)
        by_pyav = PyAVReader(file, looked_at, limits).frames(indices)
    for index in indices:
        (here, second), (there, other_second) = by_decord[index], by_pyav[index]
        assert np.abs(here.astype(int) - there).mean() < 2  # grey levels
        assert second == pytest.approx(other_second)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")
def test_nothing_is_decoded_that_nobody_asked_for(tmp_path: Path) -> None:
    options = {"g": "250", "preset": "ultrafast"}
    video = open_video(write_video(tmp_path / "long.mp4", num_frames=1000, size=(320, 240), options=options))

    def memory() -> int:
        return sum(psutil.Process(worker.pid).memory_info().rss for worker in default_pool().workers())

    def resting() -> bool:
        """Whether no thread of the workers has anything to do."""
        tasks = [task for worker in default_pool().workers() for task in Path(f"/proc/{worker.pid}/task").iterdir()]
        return all(task.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "S" for task in tasks)

    before = memory()
    video.frames_at([5, 100])
    assert video.decoder == "decord"
    while not resting():  # else decord decodes the rest: 115 MB
        time.sleep(0.05)
    assert memory() - before < 40e6


@pytest.mark.parametrize("rotation", [90, 180, -90])
@pytest.mark.parametrize("depth", ["yuv420p", "yuv420p10le"])  # decord, PyAV
def test_a_turned_video_stands_upright(tmp_path: Path, rotation: int, depth: str) -> None:
    video = open_video(write_video(tmp_path / "phone.mp4", rotation=rotation, pixel_format=depth))
    assert video.size == ((160, 120) if rotation == 180 else (120, 160))
    picture = video.frames_at([9]).pixels[0]
    assert number(np.rot90(picture, -rotation // 90)) == 9


def test_frames_that_a_trim_hides_stay_hidden(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", num_frames=60, options={"g": "60"})
    video = open_video(remux(whole, tmp_path / "part.mp4", start=20))
    assert (video.num_frames, video.decoder) == (40, "PyAV")
    frames = video.frames_at([0, 10, 39])
    assert numbers(frames.pixels) == [20, 30, 59]
    assert frames.seconds == pytest.approx((0, 0.4, 1.56))


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_phones_trim_shows_what_is_between_its_ends_and_is_no_damage(tmp_path: Path, b_frames: int) -> None:
    whole = write_video(tmp_path / "whole.mp4", num_frames=60, options={"g": "10"}, max_b_frames=b_frames)
    video = open_video(trim(whole, tmp_path / "part.mp4", first=25, num_frames=20))
    assert (video.num_frames, video.decoder, video.note) == (20, "PyAV", None)
    frames = video.frames_at(range(20))
    assert numbers(frames.pixels) == list(range(25, 45))
    assert frames.seconds == pytest.approx([index / 25 for index in range(20)])


def test_packets_without_a_picture_are_not_counted(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.avi", codec="mpeg4", max_b_frames=0)
    video = open_video(insert_packets(plain, tmp_path / "divx.avi", {0: b"\x7f"}))
    assert (video.num_frames, video.decoder, video.note) == (30, "PyAV", None)
    assert numbers(video.frames_at([0, 1, 29]).pixels) == [0, 1, 29]


def test_what_divx_packs_together_comes_apart(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.avi", num_frames=40, codec="mpeg4", options={"g": "12"}, max_b_frames=1)
    video = open_video(packed(plain, tmp_path / "divx.avi"))
    assert (video.num_frames, video.decoder, video.note) == (40, "PyAV", None)
    assert numbers(video.frames_at(range(40)).pixels) == list(range(40))


def test_an_index_that_lies_about_keys_gives_no_wrong_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "all.avi", num_frames=60, codec="msmpeg4", options={"g": "20"}, max_b_frames=0)
    video = open_video(claim_keys(path))
    assert numbers(video.frames_at([33, 37]).pixels) == [33, 37]
    assert numbers(video.frames_at([0, 15, 30, 59]).pixels) == [0, 15, 30, 59]


def test_a_frame_is_the_same_one_whatever_else_is_asked_for(tmp_path: Path) -> None:
    options = {"x265-params": "open-gop=1:keyint=20:min-keyint=20:bframes=4:log-level=none"}
    whole = write_video(tmp_path / "whole.mp4", num_frames=100, codec="libx265", options=options)
    video = open_video(cut_before(whole, tmp_path / "cut.mp4", 10))
    assert numbers(video.frames_at([0, video.num_frames - 1]).pixels) == [20, 99]  # 16 to 19 need what is gone
    middle = video.num_frames // 2
    (alone,), (_, beside) = (numbers(video.frames_at(indices).pixels) for indices in ([middle], [0, middle]))
    assert alone == beside


AV1: dict[str, Any] = {"codec": "libsvtav1", "options": {"g": "12", "preset": "12"}}
MPEG_2: dict[str, Any] = {"codec": "mpeg2video", "options": {"g": "12"}, "max_b_frames": 2}


@pytest.mark.parametrize(
    ("name", "made", "num_packets", "first"),
    [
        ("screen.mp4", {"options": {"g": "12", "bf": "2"}}, 2, 12),
        ("screen.mp4", {"options": {"g": "12", "bf": "0"}}, 1, 12),
        ("synced.mkv", {"options": {"g": "12", "bf": "2"}}, 13, 24),
        ("camera.ts", {"options": {"g": "12", "bf": "2"}}, 5, 12),
        ("program.mpg", {**MPEG_2, "format": "mpeg"}, 2, 12),
        ("open gop.mp4", MPEG_2, 10, 12),
        ("cut.mp4", AV1, 7, 12),
        ("cut.mkv", AV1, 2, 12),
        ("vp8.webm", {"codec": "libvpx", "options": {"g": "12"}}, 2, 12),
    ],
)
def test_a_video_begins_with_the_first_frame_that_can_be_decoded(
    tmp_path: Path, name: str, made: dict[str, Any], num_packets: int, first: int
) -> None:
    whole = write_video(tmp_path / f"whole{Path(name).suffix}", num_frames=60, **made)
    video = open_video(behead(whole, tmp_path / name, num_packets))
    assert (video.num_frames, video.decoder, video.note) == (60 - first, "PyAV", None)
    assert numbers(video.frames_at(range(60 - first)).pixels) == list(range(first, 60))
    assert numbers(video.frames_at([30 - first, 59 - first]).pixels) == [30, 59]


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="scheduling policies are Linux's")
def test_no_process_is_real_time_after_av1_was_encoded_and_decoded(tmp_path: Path) -> None:
    open_video(write_video(tmp_path / "clip.mp4", **AV1)).frames_at([0])
    assert {os.sched_getscheduler(pid) for pid in (0, *(worker.pid for worker in default_pool().workers()))} == {
        os.SCHED_OTHER
    }


def test_av1_that_was_cut_without_encoding_shows_what_the_edit_list_says(tmp_path: Path) -> None:
    video = open_video(remux(write_video(tmp_path / "whole.mp4", num_frames=60, **AV1), tmp_path / "cut.mp4", start=17))
    assert numbers(video.frames_at(range(video.num_frames)).pixels) == list(range(17, 60))


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda picture: picture),
        ((-1, 0, 0, 1), lambda picture: picture[:, ::-1]),
        ((1, 0, 0, -1), lambda picture: picture[::-1]),
        ((-1, 0, 0, -1), lambda picture: picture[::-1, ::-1]),
        ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),
        ((0, -1, 1, 0), lambda picture: np.rot90(picture)),
        ((0, 1, 1, 0), lambda picture: picture.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda picture: np.rot90(picture, 2).swapaxes(0, 1)),
    ],
    ids=[
        "as it is",
        "mirrored",
        "flipped",
        "half a turn",
        "clockwise",
        "counterclockwise",
        "transposed",
        "transposed, half a turn",
    ],
)
def test_pictures_are_turned_and_mirrored_as_the_matrix_says(
    tmp_path: Path, matrix: tuple[int, ...], upright: Callable[[np.ndarray], np.ndarray]
) -> None:
    plain = write_video(tmp_path / "plain.mp4", num_frames=10)
    video = open_video(set_matrix(plain, tmp_path / "turned.mp4", matrix))
    shown, wanted = video.frames_at([5]).pixels[0], upright(open_video(plain).frames_at([5]).pixels[0])
    assert shown.shape == wanted.shape == (video.size[1], video.size[0], 3)
    assert np.abs(shown.astype(int) - wanted).mean() < 2


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_an_index_that_lies_is_not_believed(tmp_path: Path, codec: str) -> None:
    options = {"g": "10", "deadline": "realtime", "cpu-used": "8"}
    limit = {"cluster_time_limit": "300"}
    honest = write_video(tmp_path / "a.mkv", num_frames=90, codec=codec, options=options, container_options=limit)
    video = open_video(shuffle_cues(honest, tmp_path / "b.mkv"))
    assert [numbers(video.frames_at([index]).pixels) for index in (5, 33, 71)] == [[5], [33], [71]]
    assert open_video(honest).decoder == "decord"


def test_the_index_of_an_avi_that_lies_is_not_believed(tmp_path: Path) -> None:
    honest = write_video(tmp_path / "a.avi", num_frames=90, codec="mpeg4", options={"g": "10"}, max_b_frames=0)
    video = open_video(shift_index(honest, tmp_path / "b.avi"))
    assert [numbers(video.frames_at([index]).pixels) for index in (5, 33, 71)] == [[5], [33], [71]]


def test_without_decord_a_sound_video_is_jumped_in(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", num_frames=60, options={"g": "10"})
    with path.open("rb") as file:
        reader = PyAVReader(file, scan(file, sniff(path), Limits()), Limits())
        assert number(reader.frames([33])[33][0]) == 33
    assert not reader._kept


@pytest.mark.parametrize("size", [(160, 120), (640, 480)])  # one thread, and a slice for each
def test_between_far_keys_frames_that_no_other_is_made_of_are_left_out(tmp_path: Path, size: tuple[int, int]) -> None:
    options = {"g": "250", "bf": "3", "preset": "ultrafast"}
    for frames, decoder in ((120, "decord"), (200, "PyAV")):
        video = open_video(write_video(tmp_path / f"{frames}.mp4", num_frames=frames, size=size, options=options))
        assert video.decoder == decoder
        indices = [*range(0, frames, 9), frames - 2, frames - 1]
        assert numbers(video.frames_at(indices).pixels) == indices
        assert numbers(video.frames_at(indices[:0:-2]).pixels) == indices[:0:-2]


def test_seconds_are_those_of_the_timestamps(tmp_path: Path) -> None:
    shown_at = [1000, 1020, 1100, 1700, 1720]
    for name in ("late.mp4", "late.mkv", "late.ts"):
        video = open_video(write_video(tmp_path / name, num_frames=5, milliseconds=shown_at, max_b_frames=0))
        seconds = video.frames_at(range(5)).seconds
        assert seconds is not None
        start = 1.0 if name == "late.ts" else 0.0  # the clock of a stream starts anywhere
        assert seconds == pytest.approx([ms / 1000 - start for ms in shown_at], abs=0.002)


@pytest.mark.parametrize("kept", [0, 256])  # MB: packets tell, frames tell
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])  # decord, PyAV
def test_seconds_are_told_without_frames(tmp_path: Path, pixel_format: str, kept: int) -> None:
    shown_at = [500, 520, 600, 1200, 1220]
    for name in ("late.mp4", "late.ts", "even.avi"):
        codec, rate = ("mpeg4", None) if name == "even.avi" else ("libx264", shown_at)
        chosen = "yuv420p" if codec == "mpeg4" else pixel_format
        path = write_video(
            tmp_path / name, num_frames=5, milliseconds=rate, max_b_frames=0, codec=codec, pixel_format=chosen
        )
        video = open_video(path, limits=Limits(kept_mb=kept))
        seconds = video.frames_at(range(5)).seconds
        assert seconds is not None
        assert video.fps is not None
        assert video.seconds_at([4, 0, 5]) == pytest.approx((seconds[4], seconds[0], seconds[4] + 1 / video.fps))
    assert video.seconds_at([]) == ()
    with pytest.raises(VideoError, match="no frame 6"):
        video.seconds_at([6])


def test_seconds_of_a_damaged_file_are_those_of_its_true_frames(tmp_path: Path) -> None:
    options = {"g": "250", "crf": "5"}
    path = write_video(
        tmp_path / "scratched.mp4", num_frames=100, options=options, container_options={"movflags": "faststart"}
    )
    video = open_video(scratched(path))
    with pytest.raises(FrameCountChangedError):
        video.frames_at([0, 99])
    everything = range(video.num_frames)
    assert video.seconds_at(everything) == video.frames_at(everything).seconds
    with pytest.raises(VideoError, match="no frame 99"):
        video.seconds_at([99])


def test_a_first_frame_a_rounding_before_the_start_is_at_zero() -> None:
    assert str(_since(1.4, 1.3999997)) == "0.0"
    assert _since(1.4, 1.44) == 0.04


def test_a_raw_stream_has_no_clock(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "raw.h264"))
    assert (video.fps, video.duration, video.frames_at([3]).seconds) == (None, None, None)
    assert video.seconds_at([0, 30]) is None


def test_length_and_rate(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "clip.mp4", fps=20))
    assert video.fps == pytest.approx(20)
    assert video.duration == pytest.approx(1.5)


def test_large_pictures_are_delivered_reduced(tmp_path: Path) -> None:
    for depth in ("yuv420p", "yuv420p10le"):  # decord, PyAV
        path = write_video(tmp_path / f"{depth}.mp4", size=(640, 480), num_frames=5, pixel_format=depth, rotation=90)
        video = open_video(path, limits=Limits(pixels=240 * 320))
        assert video.size == (240, 320)
        pixels = video.frames_at([4]).pixels
        assert pixels.shape == (1, 320, 240, 3)
        assert number(np.rot90(pixels[0], -1)) == 4


def num_keys(path: Path) -> int:
    with path.open("rb") as file:
        return len(scan(file, sniff(path), Limits()).keys)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_pyav_reads_from_the_nearest_clean_cut(tmp_path: Path, codec: str) -> None:
    options = {"g": "10", "x265-params": "open-gop=1:keyint=10:min-keyint=5:log-level=none"}
    path = write_video(tmp_path / "long.mp4", num_frames=100, codec=codec, options=options, pixel_format="yuv420p10le")
    video = open_video(path)
    indices = random.Random(0).sample(range(100), 30)
    assert numbers(video.frames_at(indices).pixels) == indices
    assert video.note is None
    assert num_keys(path) >= 10


def test_avis_are_jumped_in(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.avi", num_frames=100, codec="mpeg4", options={"g": "10"}, max_b_frames=0)
    indices = [95, 3, 40, 41, 77]
    assert numbers(open_video(path).frames_at(indices).pixels) == indices
    assert num_keys(path) >= 10


@pytest.mark.parametrize(
    ("name", "options", "container", "codec", "pixel_format"),
    [
        ("a.mp4", {}, "mp4", "h264", "yuv420p"),
        ("a.mov", {}, "mov", "h264", "yuv420p"),
        ("a.mp4", {"pixel_format": "yuv444p"}, "mp4", "h264", "yuv444p"),
        ("a.mp4", {"pixel_format": "yuv420p10le"}, "mp4", "h264", "yuv420p10le"),
        ("a.mp4", {"codec": "libx265"}, "mp4", "hevc", "yuv420p"),
        ("a.mp4", {"codec": "libvpx-vp9"}, "mp4", "vp9", "yuv420p"),
        ("a.webm", {"codec": "libvpx"}, "webm", "vp8", "yuv420p"),
        ("a.webm", {"codec": "libvpx-vp9"}, "webm", "vp9", "yuv420p"),
        ("a.mkv", {}, "matroska", "h264", "yuv420p"),
        ("a.avi", {"codec": "mpeg4"}, "avi", "mpeg4", "yuv420p"),
    ],
)
def test_how_a_file_is_coded_is_told(
    tmp_path: Path, name: str, options: dict[str, Any], container: str, codec: str, pixel_format: str
) -> None:
    coded = open_video(write_video(tmp_path / name, num_frames=3, **options)).format
    assert coded is not None
    assert (coded.container, coded.codec, coded.pixel_format) == (container, codec, pixel_format)
    if codec == "h264":
        assert coded.profile.startswith("High")


def test_work_on_a_damaged_video_is_done_again_with_the_true_number_of_frames(tmp_path: Path) -> None:
    options = {"g": "250", "crf": "5"}
    path = write_video(
        tmp_path / "scratched.mp4", num_frames=100, options=options, container_options={"movflags": "faststart"}
    )
    video, numbers_of_frames = open_video(scratched(path)), []

    def ends(num_frames: int) -> np.ndarray:
        numbers_of_frames.append(num_frames)
        return video.frames_at([0, num_frames - 1]).pixels

    assert video.counted(ends).shape[0] == 2
    assert numbers_of_frames == [100, video.num_frames]
    again = open_video(path)
    steps = list(again.counted_each(lambda num_frames: (ends(num_frames) for _ in range(2))))
    assert [len(step) for step in steps] == [2, 2]


def test_what_is_over_a_limit_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match=r"^clip\.mp4 is 160 x 120 pixels, more than"):
        open_video(path, limits=Limits(source_pixels=10_000))
    with pytest.raises(VideoError, match=r"^clip\.mp4 has more than 29 frames"):
        open_video(path, limits=Limits(frames=29))


def test_an_index_outside_is_refused(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "clip.mp4"))
    for index in (-1, 30):
        with pytest.raises(VideoError, match="has 30 frames and no frame"):
            video.frames_at([index])
    assert video.frames_at([]).pixels.shape == (0, 120, 160, 3)


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_of_a_cut_file_what_is_there_is_read(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    path = write_video(tmp_path / f"cut{suffix}", num_frames=200, codec=codec, container_options=options)
    video = open_video(cut(path, 0.6))
    assert 40 < video.num_frames < 180
    assert video.damaged
    assert video.note is not None
    assert video.note.startswith(f"The file is damaged: {video.num_frames} ")
    indices = [0, video.num_frames // 2]
    assert numbers(video.frames_at(indices).pixels) == indices


def scratched(path: Path, *, first: float = 0.4, last: float = 0.9, seed: int = 0) -> Path:
    """Bytes in the middle of a file are replaced."""
    data, rng = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(60):
        data[rng.randrange(int(len(data) * first), int(len(data) * last))] = rng.randrange(256)
    path.write_bytes(data)
    return path


def test_damage_that_shows_in_reading_is_told_and_the_clip_taken_of_what_is_there(tmp_path: Path) -> None:
    options = {"g": "250", "crf": "5"}
    path = write_video(
        tmp_path / "scratched.mp4", num_frames=100, options=options, container_options={"movflags": "faststart"}
    )
    video = open_video(scratched(path))
    assert (video.num_frames, video.decoder, video.note) == (100, "decord", None)
    with pytest.raises(FrameCountChangedError):
        video.frames_at([0, 99])
    assert video.num_frames < 100
    assert video.decoder == "PyAV"
    clip = read_clip(path, ClipSpec(sampler="equidistant"))
    assert clip.decoder == "PyAV"
    assert clip.notes == (f"The file is damaged: {video.num_frames} of 100 frames could be read.",)
    assert clip.frames[-1].sources[0] < video.num_frames


def test_damage_that_shows_in_reading_is_told_by_a_worker_that_has_not_seen_the_file(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "scratched.mp4",
        num_frames=100,
        options={"g": "250", "crf": "5"},
        container_options={"movflags": "faststart"},
    )
    video = open_video(scratched(path))
    open_video(write_video(tmp_path / "other.mp4")).frames_at([0])
    with pytest.raises(FrameCountChangedError):
        video.frames_at([0, 99])
    assert video.decoder == "PyAV"


def test_a_clip_tells_its_decoder(tmp_path: Path) -> None:
    clip = read_clip(write_video(tmp_path / "clip.avi", codec="mpeg4"), ClipSpec())
    assert (clip.decoder, clip.notes) == ("PyAV", ())


def test_the_frames_of_a_file_are_the_same_in_every_run(tmp_path: Path) -> None:
    path = write_video(tmp_path / "b.avi", codec="mpeg4", max_b_frames=2)
    first, second = (open_video(path).frames_at(range(30)).pixels for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_mangled_files_are_answered_or_refused_in_one_line(tmp_path: Path) -> None:
    seeds = [write_video(tmp_path / "seed.mp4"), write_video(tmp_path / "seed.avi", codec="mpeg4")]
    rng, answers = random.Random(0), []
    for count, seed in itertools.product(range(12), seeds):
        data = bytearray(seed.read_bytes())
        for _ in range(rng.choice([1, 10, 100])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path = tmp_path / f"mangled{count}{seed.suffix}"
        path.write_bytes(data[: rng.randrange(len(data) // 2, len(data) + 1)])
        try:
            answers.append(read_clip(path, ClipSpec(sampler="equidistant")).pixels.shape[0] == 8)
        except VideoError as error:
            answers.append(str(error).startswith(path.name) and "\n" not in str(error))
    assert all(answers)
    assert len(answers) == 24


def test_every_frame_of_a_kept_video_can_be_had(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "long.ts", num_frames=500, max_b_frames=0))
    assert video.decoder == "PyAV"
    assert numbers(video.frames_at(range(500)).pixels) == list(range(500))
