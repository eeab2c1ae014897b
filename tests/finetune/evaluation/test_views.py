from pathlib import Path

import numpy as np
import pytest

from finetune.evaluation.views import CropView, crop_views
from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import read_clip
from hmdb.errors import DataError
from tests.support.clips import write_frames

SPEC = ClipSpec(num_frames=2, stride=4, sampler="uniform")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames of 8 x 24 pixels, with the frame number in red and the column in green."""
    frames = np.zeros((20, 8, 24, 3), np.uint8)
    frames[..., 0] = 10 * np.arange(20)[:, None, None]
    frames[..., 1] = np.arange(24)
    return write_frames(tmp_path_factory.mktemp("views") / "clip", frames)


def test_a_single_view_is_the_usual_clip(clip: Path) -> None:
    (view,) = crop_views("1x1")
    np.testing.assert_array_equal(view.pixels(clip, SPEC), read_clip(clip, SPEC).pixels)


def test_moments_are_spread_over_the_video_and_crops_over_the_frame(clip: Path) -> None:
    seen = [view.pixels(clip, SPEC) for view in crop_views("3x3")]
    assert all(pixels.shape == (2, 8, 8, 3) for pixels in seen)
    numbers = [[int(frame[0, 0, 0]) // 10 for frame in pixels] for pixels in seen]
    assert numbers[::3] == [[0, 4], [6, 10], [12, 16]], "windows of 8 frames"
    assert [int(pixels[0, 0, 0, 1]) for pixels in seen[:3]] == [0, 8, 16]


def test_a_short_video_has_one_window(clip: Path) -> None:
    spec = ClipSpec(num_frames=4, stride=8, sampler="equidistant")
    first, *others = (view.pixels(clip, spec) for view in crop_views("4x1"))
    assert all((other == first).all() for other in others)
    assert crop_views("4x1")[1] == CropView(moment=1, of_moments=4)


@pytest.mark.parametrize("text", ["3", "0x3", "1x0", "9x9", "x", "-1x3", "1x3x2", "one"])
def test_other_notations_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="is not MOMENTSxCROPS, such as 1x3 or 4x3, with at most 64 views"):
        crop_views(text)
