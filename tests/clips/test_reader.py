from pathlib import Path

import numpy as np
import pytest

from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import read_clip, take_clip
from tests.support.clips import NumberedVideo, moving_bar, write_frames


@pytest.mark.parametrize("num_frames", [1, 12, 90, 1000])
def test_needed_frames_are_decoded_once_in_order(num_frames: int) -> None:
    video = NumberedVideo(num_frames)
    clip = take_clip(video, ClipSpec())
    needed = {index for frame in clip.frames for index in frame.sources}
    assert video.requests == [sorted(needed)]


def test_an_interpolated_frame_lies_between_its_sources() -> None:
    clip = take_clip(NumberedVideo(12), ClipSpec())
    between = clip.frames[3]
    assert between.sources == (1, 2)
    assert between.seconds == pytest.approx(0.06)
    assert clip.pixels[3].flat[0] == round(1.5 * 0.6)


def test_clip_of_a_folder_of_frames(tmp_path: Path) -> None:
    frames = moving_bar(12, (32, 24))
    folder = write_frames(tmp_path / "clip", frames)
    clip = read_clip(folder, ClipSpec(sampler="equidistant"))
    assert [frame.sources[0] for frame in clip.frames] == [0, 1, 3, 4, 6, 7, 9, 10]  # 2 comes before 10
    assert all(frame.seconds is None for frame in clip.frames)
    np.testing.assert_array_equal(clip.pixels, frames[[0, 1, 3, 4, 6, 7, 9, 10]])


def test_clip_of_a_file(video: Path) -> None:
    clip = read_clip(video, ClipSpec())
    assert [frame.sources[0] for frame in clip.frames] == [0, 16, 32, 48, 64, 80, 82, 66]
    assert [frame.seconds for frame in clip.frames] == pytest.approx([0, 0.64, 1.28, 1.92, 2.56, 3.2, 3.28, 2.64])
    expected = moving_bar(90)[[0, 16, 32, 48, 64, 80, 82, 66]]
    assert np.abs(clip.pixels.astype(int) - expected).mean() < 4  # grey levels; the codec is lossy
