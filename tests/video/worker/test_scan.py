import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from hmdb.video import open_video
from hmdb.video.worker_pool import default_pool
from tests.support.videos import (
    draw_number,
    drop_first_packets,
    insert_packets,
    pack_b_frames,
    read_number,
    read_numbers,
    remux,
    set_matrix,
    trim,
    write_video,
)

pytest.importorskip("decord")


AV1: dict[str, Any] = {"codec": "libsvtav1", "options": {"g": "12", "preset": "12"}}


MPEG_2: dict[str, Any] = {"codec": "mpeg2video", "options": {"g": "12"}, "max_b_frames": 2}


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("rotation", [90, 180, -90])
@pytest.mark.parametrize("depth", ["yuv420p", "yuv420p10le"])  # decord, PyAV
def test_rotated_videos_are_upright(tmp_path: Path, rotation: int, depth: str, suffix: str) -> None:
    video = open_video(write_video(tmp_path / f"phone.{suffix}", rotation=rotation, pixel_format=depth))
    assert video.size == ((160, 120) if rotation == 180 else (120, 160))
    picture = video.frames_at([9]).pixels[0]
    assert read_number(np.rot90(picture, -rotation // 90)) == 9


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
def test_the_display_matrix_is_applied(
    tmp_path: Path, matrix: tuple[int, ...], upright: Callable[[np.ndarray], np.ndarray]
) -> None:
    plain = write_video(tmp_path / "plain.mp4", num_frames=10)
    video = open_video(set_matrix(plain, tmp_path / "turned.mp4", matrix))
    shown, wanted = video.frames_at([5]).pixels[0], upright(open_video(plain).frames_at([5]).pixels[0])
    assert shown.shape == wanted.shape == (video.size[1], video.size[0], 3)
    assert np.abs(shown.astype(int) - wanted).mean() < 2


def test_frames_hidden_by_an_edit_list(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", num_frames=60, options={"g": "60"})
    video = open_video(remux(whole, tmp_path / "part.mp4", start=20))
    assert (video.num_frames, video.decoder) == (40, "PyAV")
    frames = video.frames_at([0, 10, 39])
    assert read_numbers(frames.pixels) == [20, 30, 59]
    assert frames.seconds == pytest.approx((0, 0.4, 1.56))


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_trim_at_both_ends_is_no_damage(tmp_path: Path, b_frames: int) -> None:
    whole = write_video(tmp_path / "whole.mp4", num_frames=60, options={"g": "10"}, max_b_frames=b_frames)
    video = open_video(trim(whole, tmp_path / "part.mp4", first=25, num_frames=20))
    assert (video.num_frames, video.decoder, video.note) == (20, "PyAV", None)
    frames = video.frames_at(range(20))
    assert read_numbers(frames.pixels) == list(range(25, 45))
    assert frames.seconds == pytest.approx([index / 25 for index in range(20)])


def test_frames_of_av1_hidden_by_an_edit_list(tmp_path: Path) -> None:
    video = open_video(remux(write_video(tmp_path / "whole.mp4", num_frames=60, **AV1), tmp_path / "cut.mp4", start=17))
    assert read_numbers(video.frames_at(range(video.num_frames)).pixels) == list(range(17, 60))


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
def test_undecodable_frames_at_the_start_are_dropped(
    tmp_path: Path, name: str, made: dict[str, Any], num_packets: int, first: int
) -> None:
    whole = write_video(tmp_path / f"whole{Path(name).suffix}", num_frames=60, **made)
    video = open_video(drop_first_packets(whole, tmp_path / name, num_packets))
    assert (video.num_frames, video.decoder, video.note) == (60 - first, "PyAV", None)
    assert read_numbers(video.frames_at(range(60 - first)).pixels) == list(range(first, 60))
    assert read_numbers(video.frames_at([30 - first, 59 - first]).pixels) == [30, 59]


def test_packets_without_a_picture_are_not_counted(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.avi", codec="mpeg4", max_b_frames=0)
    video = open_video(insert_packets(plain, tmp_path / "divx.avi", {0: b"\x7f"}))
    assert (video.num_frames, video.decoder, video.note) == (30, "PyAV", None)
    assert read_numbers(video.frames_at([0, 1, 29]).pixels) == [0, 1, 29]


def test_packed_b_frames_of_divx_are_unpacked(tmp_path: Path) -> None:
    plain = write_video(tmp_path / "plain.avi", num_frames=40, codec="mpeg4", options={"g": "12"}, max_b_frames=1)
    video = open_video(pack_b_frames(plain, tmp_path / "divx.avi"))
    assert (video.num_frames, video.decoder, video.note) == (40, "PyAV", None)
    assert read_numbers(video.frames_at(range(40)).pixels) == list(range(40))


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="scheduling policies are Linux's")
def test_no_process_becomes_real_time_by_av1(tmp_path: Path) -> None:
    open_video(write_video(tmp_path / "clip.mp4", **AV1)).frames_at([0])
    assert {os.sched_getscheduler(pid) for pid in (0, *(worker.pid for worker in default_pool().workers()))} == {
        os.SCHED_OTHER
    }


@pytest.mark.parametrize("rotation", [0, 90])
def test_wide_pixels_are_shown_wide(tmp_path: Path, rotation: int) -> None:
    path = tmp_path / "dvd.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        if rotation:
            stream.set_display_rotation(rotation)
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(draw_number(index, (160, 120)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = open_video(path)
    assert video.size == ((120, 228) if rotation else (228, 120))
    pixels = video.frames_at([9]).pixels[0]
    assert pixels.shape[:2] == video.size[::-1]
    assert read_number(np.rot90(pixels, -rotation // 90)) == 9


def test_a_single_larger_picture_is_not_the_video(tmp_path: Path) -> None:
    path = tmp_path / "thumbnail.mp4"
    with av.open(str(path), "w") as container:
        thumbnail, moving = container.add_stream("mjpeg", rate=25), container.add_stream("libx264", rate=25)
        assert isinstance(thumbnail, VideoStream)
        assert isinstance(moving, VideoStream)
        thumbnail.width, thumbnail.height, thumbnail.pix_fmt = 320, 240, "yuvj420p"
        moving.width, moving.height, moving.pix_fmt = 160, 120, "yuv420p"
        for stream, count in ((thumbnail, 1), (moving, 30)):
            for index in range(count):
                drawn = draw_number(index, (stream.width, stream.height))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(drawn, format="rgb24")))
            container.mux(stream.encode())
    video = open_video(path)
    assert (video.size, video.num_frames) == ((160, 120), 30)
    assert read_numbers(video.frames_at([0, 29]).pixels) == [0, 29]


def test_an_avi_with_dropped_frames_keeps_its_length(tmp_path: Path) -> None:
    path = tmp_path / "dropped.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for index in range(30):
            frame = av.VideoFrame.from_ndarray(draw_number(index, (160, 120)), format="rgb24")
            frame.pts, frame.time_base = 2 * index, Fraction(1, 25)  # every other frame is an empty packet
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = open_video(path)
    assert video.num_frames == 30
    assert video.duration == pytest.approx(60 / 25, abs=0.1)
    assert video.seconds_at([10]) == pytest.approx([20 / 25])
    assert read_numbers(video.frames_at([0, 10, 29]).pixels) == [0, 10, 29]
