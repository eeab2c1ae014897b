from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import read_clip
from hmdb.errors import VideoError
from hmdb.video import open_video
from hmdb.video.limits import Limits
from hmdb.video.protocol import DECORD, PYAV
from hmdb.video.worker_pool import default_pool
from hmdb.video.worker_process import (
    OutOfMemoryError,
    UnansweredError,
    WorkerCrashedError,
    WorkerReply,
    WorkerTimeoutError,
)
from tests.support.videos import (
    cut_to_keyframe,
    read_number,
    read_numbers,
    write_video,
)

pytest.importorskip("decord")


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
def test_format_of_a_file(
    tmp_path: Path, name: str, options: dict[str, Any], container: str, codec: str, pixel_format: str
) -> None:
    coded = open_video(write_video(tmp_path / name, num_frames=3, **options)).format
    assert coded is not None
    assert (coded.container, coded.codec, coded.pixel_format) == (container, codec, pixel_format)
    if codec == "h264":
        assert coded.profile.startswith("High")


def test_duration_and_frame_rate(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "clip.mp4", fps=20))
    assert video.fps == pytest.approx(20)
    assert video.duration == pytest.approx(1.5)


def test_seconds_are_the_timestamps(tmp_path: Path) -> None:
    shown_at = [1000, 1020, 1100, 1700, 1720]
    for name in ("late.mp4", "late.mkv", "late.ts"):
        video = open_video(write_video(tmp_path / name, num_frames=5, milliseconds=shown_at, max_b_frames=0))
        seconds = video.frames_at(range(5)).seconds
        assert seconds is not None
        start = 1.0 if name == "late.ts" else 0.0  # the clock of a stream starts anywhere
        assert seconds == pytest.approx([ms / 1000 - start for ms in shown_at], abs=0.002)


@pytest.mark.parametrize("kept", [0, 256])  # MB: packets tell, frames tell
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])  # decord, PyAV
def test_seconds_without_frames(tmp_path: Path, pixel_format: str, kept: int) -> None:
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


def test_a_raw_stream_has_no_clock(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "raw.h264"))
    assert (video.fps, video.duration, video.frames_at([3]).seconds) == (None, None, None)
    assert video.seconds_at([0, 30]) is None


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    for depth in ("yuv420p", "yuv420p10le"):  # decord, PyAV
        path = write_video(tmp_path / f"{depth}.mp4", size=(640, 480), num_frames=5, pixel_format=depth, rotation=90)
        video = open_video(path, limits=Limits(pixels=240 * 320))
        assert video.size == (240, 320)
        pixels = video.frames_at([4]).pixels
        assert pixels.shape == (1, 320, 240, 3)
        assert read_number(np.rot90(pixels[0], -1)) == 4


def test_files_over_a_limit_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match=r"^clip\.mp4 is 160 x 120 pixels, more than"):
        open_video(path, limits=Limits(source_pixels=10_000))
    with pytest.raises(VideoError, match=r"^clip\.mp4 has more than 29 frames"):
        open_video(path, limits=Limits(frames=29))


def test_an_index_out_of_range_is_refused(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "clip.mp4"))
    for index in (-1, 30):
        with pytest.raises(VideoError, match="has 30 frames and no frame"):
            video.frames_at([index])
    assert video.frames_at([]).pixels.shape == (0, 120, 160, 3)


def test_a_clip_names_its_decoder(tmp_path: Path) -> None:
    clip = read_clip(write_video(tmp_path / "clip.avi", codec="mpeg4"), ClipSpec())
    assert (clip.decoder, clip.notes) == ("PyAV", ())


def test_frames_are_the_same_in_every_run(tmp_path: Path) -> None:
    path = write_video(tmp_path / "b.avi", codec="mpeg4", max_b_frames=2)
    first, second = (open_video(path).frames_at(range(30)).pixels for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_frame_does_not_depend_on_the_others_requested(tmp_path: Path) -> None:
    options = {"x265-params": "open-gop=1:keyint=20:min-keyint=20:bframes=4:log-level=none"}
    whole = write_video(tmp_path / "whole.mp4", num_frames=100, codec="libx265", options=options)
    video = open_video(cut_to_keyframe(whole, tmp_path / "cut.mp4", 10))
    assert read_numbers(video.frames_at([0, video.num_frames - 1]).pixels) == [20, 99]  # 16 to 19 need what is gone
    middle = video.num_frames // 2
    (alone,), (_, with_first) = (read_numbers(video.frames_at(indices).pixels) for indices in ([middle], [0, middle]))
    assert alone == with_first


def test_a_replaced_file_is_read_anew(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", num_frames=30)
    video = open_video(path)
    write_video(tmp_path / "other.mp4", num_frames=20).replace(path)
    with pytest.raises(VideoError, match="has 20 frames, not 30"):
        video.frames_at([3])
    path.unlink()
    with pytest.raises(VideoError, match=r"^clip\.mp4 cannot be opened: No such file"):
        video.frames_at([3])


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (WorkerTimeoutError("no answer", decoder="", seconds_left=9), [(True, 15, False)]),
        (WorkerTimeoutError("no answer", decoder=PYAV, seconds_left=9), [(True, 15, False)]),
        (WorkerTimeoutError("no answer", decoder=DECORD, seconds_left=9), [(True, 15, False), (False, 9, True)]),
        (WorkerCrashedError("no answer", decoder="", seconds_left=9), [(True, 15, False), (True, 9, True)]),
        (WorkerCrashedError("no answer", decoder=PYAV, seconds_left=9), [(True, 15, False), (True, 9, True)]),
        (WorkerCrashedError("no answer", decoder=DECORD, seconds_left=9), [(True, 15, False), (False, 9, True)]),
    ],
    ids=repr,
)
def test_both_tries_share_the_time_of_one(
    clip: Path, monkeypatch: pytest.MonkeyPatch, error: UnansweredError, asked: list[tuple[bool, float, bool]]
) -> None:
    requests = []

    def never(
        request: Mapping[str, object], file: object, limits: Limits, *, seconds: float, fresh: bool = False
    ) -> NoReturn:
        requests.append((request["decord"], seconds, fresh))
        raise error

    monkeypatch.setattr(default_pool(), "ask", never)
    with pytest.raises(VideoError, match=r"takes longer than 15 seconds|cannot be decoded"):
        open_video(clip)
    assert requests == asked


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (WorkerTimeoutError("no answer"), "cannot be read as a video"),
        (OutOfMemoryError("no room"), "needs more memory to decode"),
        (WorkerReply(refusal="large", numbers=(9000, 9000)), "is 9000 x 9000 pixels"),
    ],
    ids=repr,
)
def test_a_second_opinion_on_damage_takes_the_time_left(
    clip: Path, monkeypatch: pytest.MonkeyPatch, second: Exception | WorkerReply, message: str
) -> None:
    requests = []

    def ask(request: object, file: object, limits: Limits, *, seconds: float, fresh: bool = False) -> WorkerReply:
        requests.append((seconds, fresh))
        if not fresh:
            return WorkerReply(refusal="unreadable", short_of_memory=True, seconds_left=9)
        if isinstance(second, Exception):
            raise second
        return second

    monkeypatch.setattr(default_pool(), "ask", ask)
    with pytest.raises(VideoError, match=message):
        open_video(clip)
    assert requests == [(15, False), (9, True)]


@pytest.mark.usefixtures("fresh_workers")
def test_a_missing_decoder_is_named(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "packages" / "av"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('No module named av')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with pytest.raises(VideoError) as caught:
        open_video(clip)
    assert str(caught.value) == (
        "No video can be read here, as PyAV cannot be loaded: No module named av. `pip install av` brings it."
    )
    assert not default_pool().workers()
