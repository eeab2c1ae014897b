from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hmdb import VideoError
from hmdb.page.views import preview
from hmdb.page.views.preview import make_preview, plays_in_browser
from hmdb.video import Frames, Video, open_video
from hmdb.video.video import FrameCountChangedError
from tests.support.clips import encode, moving_bar, write_frames, write_mp4


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "plays"),
    [
        ("a.mp4", "libx264", "yuv420p", True),
        ("a.m4v", "libx264", "yuv420p", True),
        ("a.webm", "libvpx", "yuv420p", True),
        ("a.webm", "libvpx-vp9", "yuv420p", True),
        ("a.mp4", "libx264", "yuv444p", False),
        ("a.mp4", "libx264", "yuv420p10le", False),
        ("a.mp4", "libx265", "yuv420p", False),
        ("a.mp4", "mpeg4", "yuv420p", False),
        ("a.mov", "libx264", "yuv420p", False),
        ("a.avi", "mpeg4", "yuv420p", False),
        ("a.mkv", "libx264", "yuv420p", False),
    ],
)
def test_formats_that_all_browsers_play(tmp_path: Path, name: str, codec: str, pix_fmt: str, plays: bool) -> None:
    path = encode(tmp_path / name, codec, moving_bar(8), pix_fmt=pix_fmt)
    assert plays_in_browser(path) is plays


def test_mp4_with_its_index_first_and_fragmented_mp4_play(tmp_path: Path) -> None:
    assert plays_in_browser(encode(tmp_path / "a.mp4", "libx264", moving_bar(8), movflags="+faststart"))
    assert plays_in_browser(encode(tmp_path / "b.mp4", "libx264", moving_bar(8), movflags="frag_keyframe+empty_moov"))


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello there")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        plays_in_browser(tmp_path / "text.mp4")


def test_vp9_in_mp4_does_not_count_as_playable(tmp_path: Path) -> None:
    assert not plays_in_browser(encode(tmp_path / "a.mp4", "libvpx-vp9", moving_bar(8)))


def test_preview_of_an_unplayable_video(tmp_path: Path) -> None:
    frames = moving_bar(100, size=(642, 482))
    source = encode(tmp_path / "clip.avi", "mpeg4", frames)
    written = make_preview(source, tmp_path / "preview.avi")
    assert written == tmp_path / "preview.mp4"
    assert plays_in_browser(written)
    shown = open_video(written)
    assert shown.size == (320, 240)
    assert shown.num_frames == 48  # 4 s at 12 a second
    assert shown.fps == pytest.approx(12, abs=0.1)
    first, last = shown.frames_at([0, 47]).pixels.astype(int)
    assert first[120, :8].mean() > 120 > first[120, -8:].mean()
    assert last[120, -14:-8].mean() > 120 > last[120, :8].mean()


def test_previews_are_limited_in_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_mp4(tmp_path / "long.mp4", moving_bar(600))
    shown = open_video(make_preview(source, tmp_path / "p.mp4"))
    assert shown.num_frames == preview.PREVIEW_SECONDS * preview.PREVIEW_FPS
    assert open_video(make_preview(source, tmp_path / "q.mp4", seconds=1)).num_frames == 12


def test_preview_of_a_folder_and_of_one_frame(tmp_path: Path) -> None:
    for count in (1, 30):
        folder = write_frames(tmp_path / str(count), moving_bar(count))
        shown = open_video(make_preview(folder, tmp_path / f"{count}.mp4"))
        assert shown.num_frames == count


class ShrinkingVideo(Video):
    """A damaged video that announces 100 frames and has 30."""

    num_frames, fps, size = 100, 25.0, (64, 48)

    def frames_at(self, indices: Sequence[int]) -> Frames:
        if self.num_frames == 100 and max(indices) >= 30:
            self.num_frames = 30
            raise FrameCountChangedError("30 frames, not 100")
        return Frames(pixels=np.zeros((len(indices), 48, 64, 3), np.uint8), seconds=None)


def test_preview_of_a_damaged_file(tmp_path: Path) -> None:
    written = make_preview(ShrinkingVideo(), tmp_path / "p.mp4")
    assert open_video(written).num_frames == 14  # 1.2 s at 12 a second


def test_preview_errors(tmp_path: Path, video: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        make_preview(tmp_path / "text.mp4", tmp_path / "p.mp4")
    with pytest.raises(VideoError, match=r"p\.mp4 cannot be written"):
        make_preview(video, tmp_path / "nowhere" / "p.mp4")
