"""transformers' pipeline predicts the same as `Recognizer` when it samples the same frames."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import pipeline

from hmdb.recognizer import Recognizer
from hmdb.video import open_video
from tests.support.checkpoints import write_checkpoint
from tests.support.clips import moving_bar, write_mp4

TORCHVISION = find_spec("torchvision") is not None


@pytest.fixture(scope="module", params=["scratch:timesformer-tiny", "scratch:vivit-tiny"])
def equidistant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny", request.param, sampler="equidistant")


def assert_same(theirs: list[dict[str, Any]], ours: Recognizer, video: Path, tolerance: float) -> None:
    prediction = ours(video)
    assert [each["label"] for each in theirs] == list(prediction.labels)
    np.testing.assert_allclose([each["score"] for each in theirs], prediction.probabilities, atol=tolerance)


@pytest.mark.skipif(TORCHVISION, reason="with torchvision a video processor answers")
@pytest.mark.filterwarnings("ignore:Using `image_processor` for video classification")
def test_pipeline_without_torchvision_agrees_on_exact_length_videos(equidistant: Path, tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "eight.mp4", moving_bar(8))
    answer = pipeline("video-classification", str(equidistant), device="cpu")
    assert_same(answer(str(video)), Recognizer.from_pretrained(equidistant, device="cpu"), video, 1e-5)
    longer = write_mp4(tmp_path / "longer.mp4", moving_bar(60))  # of which it takes the first eight frames
    first = write_mp4(tmp_path / "first.mp4", moving_bar(60)[:8])
    np.testing.assert_allclose(
        [each["score"] for each in answer(str(longer))], [each["score"] for each in answer(str(first))], atol=0.02
    )


@pytest.mark.skipif(not TORCHVISION, reason="needs torchvision")
@pytest.mark.parametrize("num_frames", [8, 60, 90])
def test_pipeline_with_torchvision_samples_equidistant_frames(
    equidistant: Path, num_frames: int, tmp_path: Path
) -> None:
    video = write_mp4(tmp_path / "video.mp4", moving_bar(num_frames))
    decoded = open_video(video).frames_at(range(num_frames)).pixels
    answer: Any = pipeline("video-classification", str(equidistant), device="cpu")
    assert type(answer.video_processor).__name__ == "VideoMAEVideoProcessor"
    assert_same(answer(decoded), Recognizer.from_pretrained(equidistant, device="cpu"), video, 1e-3)
