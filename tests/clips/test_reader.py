from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import read_clip, take_clip
from hmdb.video import Frames, Video
from tests.support.clips import moving_bar, write_frames


class Recorded(Video):
    """A video that remembers what was asked of it; each frame's pixels are its index."""

    fps = 10.0
    size = (4, 2)

    def __init__(self, num_frames: int) -> None:
        self.num_frames = num_frames
        self.asked: list[int] = []

    def frames_at(self, indices: Sequence[int]) -> Frames:
        self.asked += indices
        pixels = np.stack([np.full((2, 4, 3), index, np.uint8) for index in indices])
        return Frames(pixels=pixels, seconds=tuple(index / 10 for index in indices))


@pytest.mark.parametrize("num_frames", [1, 12, 90, 1000])
def test_only_the_needed_frames_are_decoded_once_each_and_in_order(num_frames: int) -> None:
    video = Recorded(num_frames)
    clip = take_clip(video, ClipSpec())
    needed = {index for frame in clip.frames for index in frame.sources}
    assert video.asked == sorted(needed)


def test_an_interpolated_frame_has_the_moment_between_its_sources() -> None:
    clip = take_clip(Recorded(12), ClipSpec())
    between = clip.frames[3]
    assert between.sources == (1, 2)
    assert between.seconds == pytest.approx(0.15)
    assert clip.pixels[3].flat[0] == round(1.5 * 0.6)


def test_a_folder_of_frames_is_a_video_without_a_clock(tmp_path: Path) -> None:
    frames = moving_bar(12, (32, 24))
    folder = write_frames(tmp_path / "clip", frames)
    clip = read_clip(folder, ClipSpec(sampler="equidistant"))
    assert [frame.sources[0] for frame in clip.frames] == [0, 1, 3, 4, 6, 7, 9, 10]  # 2 comes before 10
    assert all(frame.seconds is None for frame in clip.frames)
    np.testing.assert_array_equal(clip.pixels, frames[[0, 1, 3, 4, 6, 7, 9, 10]])


def test_a_file_gives_the_frames_at_their_seconds(video: Path) -> None:
    clip = read_clip(video, ClipSpec())
    assert [frame.sources[0] for frame in clip.frames] == [0, 16, 32, 48, 64, 80, 82, 66]
    assert [frame.seconds for frame in clip.frames] == pytest.approx([0, 0.64, 1.28, 1.92, 2.56, 3.2, 3.28, 2.64])
    expected = moving_bar(90)[[0, 16, 32, 48, 64, 80, 82, 66]]
    assert np.abs(clip.pixels.astype(int) - expected).mean() < 4  # grey levels; the codec is lossy
