import numpy as np
import pytest

from hmdb import ClipSpec, VideoError
from hmdb.clips.reader import take_clip, take_clips
from hmdb.clips.windows import MAX_WINDOWS, windows
from tests.support.clips import NumberedVideo

SPEC = ClipSpec()  # 256 frames


SHORT = ClipSpec(num_frames=8, stride=4)  # 32 frames


@pytest.mark.parametrize("n", [257, 300, 511, 512, 1000, 6400, 90_000])
def test_windows_begin_and_end_with_the_video(n: int) -> None:
    found = windows(n, SPEC)
    assert (found[0].start, found[-1].stop) == (0, n)
    assert {len(window) for window in found} == {256}
    starts = [window.start for window in found]
    steps = np.diff(starts)
    assert steps.min() > 0
    assert steps.max() - steps.min() <= 1
    assert len(found) <= MAX_WINDOWS


@pytest.mark.parametrize("n", [1, 90, 256])
def test_a_short_video_is_one_window(n: int) -> None:
    assert windows(n, SPEC) == (range(n),)


def test_few_windows_overlap_by_half() -> None:
    assert windows(512, SPEC) == (range(256), range(128, 384), range(256, 512))


@pytest.mark.parametrize("most", [1, 2, 5])
def test_the_number_of_windows_is_bounded(most: int) -> None:
    assert len(windows(100_000, SPEC, max_windows=most)) == most


def test_a_video_without_frames_has_no_windows() -> None:
    with pytest.raises(VideoError, match="no frames"):
        windows(0, SPEC)


def test_a_window_is_sampled_like_a_video() -> None:
    video = NumberedVideo(200)
    first, second = take_clips(video, SHORT, [range(32), range(100, 132)])
    assert [frame.sources for frame in first.frames] == [(i,) for i in range(0, 32, 4)]
    assert [frame.sources for frame in second.frames] == [(i,) for i in range(100, 132, 4)]
    assert second.pixels[:, 0, 0, 0].tolist() == list(range(100, 132, 4))
    assert second.frames[0].seconds == 4.0
    assert video.requests == [[*range(0, 32, 4), *range(100, 132, 4)]]


def test_the_window_of_a_whole_video_is_its_clip() -> None:
    for n in (5, 90, 300):
        whole, (window,) = take_clip(NumberedVideo(n), SPEC), take_clips(NumberedVideo(n), SPEC, [range(n)])
        assert whole.frames == window.frames
        np.testing.assert_array_equal(whole.pixels, window.pixels)
