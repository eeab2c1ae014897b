from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hmdb.errors import VideoError
from hmdb.video import frame_paths, is_frame_folder, open_video
from hmdb.video.limits import Limits
from tests.support.videos import draw_number, read_numbers


def write_folder(folder: Path, num_frames: int = 12, size: tuple[int, int] = (160, 120), suffix: str = ".png") -> Path:
    folder.mkdir()
    for index in range(num_frames):
        Image.fromarray(draw_number(index, size)).save(folder / f"frame_{index}{suffix}")
    return folder


def test_frames_in_natural_order_without_a_clock(tmp_path: Path) -> None:
    video = open_video(write_folder(tmp_path / "clip"))
    assert (video.num_frames, video.fps, video.size, video.decoder) == (12, None, (160, 120), "folder")
    frames = video.frames_at([11, 2, 2])
    assert read_numbers(frames.pixels) == [11, 2, 2]
    assert frames.seconds is None
    np.testing.assert_array_equal(frames.pixels[1], draw_number(2))
    assert video.frames_at([]).pixels.shape == (0, 120, 160, 3)
    assert video.format is None


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    video = open_video(write_folder(tmp_path / "clip", 2, (1600, 1200), ".jpg"), limits=Limits(pixels=320 * 240))
    assert video.size == (320, 240)
    assert read_numbers(video.frames_at([1]).pixels) == [1]


def test_frames_of_different_sizes_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip")
    Image.new("RGB", (32, 24)).save(folder / "frame_5.png")
    with pytest.raises(
        VideoError, match=r"clip: .*differ in size \(frame_0.png is 160 x 120, frame_5.png is 32 x 24\)"
    ):
        open_video(folder)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", 3)
    (folder / "frame_1.png").write_bytes(b"text")
    with pytest.raises(VideoError, match=r"^clip/frame_1\.png cannot be read as an image"):
        open_video(folder)
    (folder / "frame_1.png").write_bytes((folder / "frame_2.png").read_bytes()[:200])
    with pytest.raises(VideoError, match=r"^clip/frame_1\.png cannot be read as an image"):
        open_video(folder).frames_at([1])


def test_folders_over_a_limit_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", 3)
    with pytest.raises(VideoError, match="holds 3 frames; at most 2"):
        open_video(folder, limits=Limits(frames=2))
    with pytest.raises(VideoError, match="160 x 120 pixels, more than"):
        open_video(folder, limits=Limits(source_pixels=1000))


def test_a_folder_without_frames(tmp_path: Path) -> None:
    assert not is_frame_folder(tmp_path)
    assert frame_paths(tmp_path) == []
    with pytest.raises(VideoError, match=r"holds no videos or frames \(\.bmp, "):
        open_video(tmp_path)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(VideoError, match=r"holds no frames \(\.bmp, "):
        open_video(tmp_path)


def test_natural_order_of_unicode_digits(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for name in ("10.png", "²3.png", "2.png", "01.png", "1.png", "٣.png"):
        Image.new("RGB", (32, 24)).save(folder / name)
    assert [path.name for path in frame_paths(folder)] == ["01.png", "1.png", "2.png", "٣.png", "10.png", "²3.png"]


def test_hidden_files_are_skipped(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", 3)
    (folder / "._frame_1.png").write_bytes(b"\0\5\x16\7 metadata of macOS")
    assert open_video(folder).num_frames == 3
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "._frame_1.png").touch()
    assert not is_frame_folder(hidden)


def test_control_characters_in_a_frame_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", 2)
    Image.new("RGB", (32, 24)).save(folder / "frame\n\x1b[2J.png")
    with pytest.raises(VideoError, match=r"frame\?\?\[2J\.png is 32 x 24") as caught:
        open_video(folder)
    assert str(caught.value).isprintable()
