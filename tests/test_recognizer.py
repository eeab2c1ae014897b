from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hmdb.clips.reader import read_clip
from hmdb.errors import ModelError, VideoError
from hmdb.recognizer import Recognizer
from tests.support.checkpoints import write_checkpoint
from tests.support.clips import moving_bar, write_mp4


def test_top_five_are_the_most_likely(recognizer: Recognizer, video: Path) -> None:
    prediction = recognizer(video)
    everything = recognizer.probabilities(prediction.clip)
    assert everything.sum() == pytest.approx(1, abs=1e-5)
    assert prediction.probabilities == pytest.approx(sorted(everything, reverse=True)[:5])
    assert prediction.label == recognizer.labels[int(np.argmax(everything))]
    assert prediction.model == "tiny"
    assert [frame.kind for frame in prediction.clip.frames] == ["real"] * 6 + ["reversed"] * 2


def test_top_k_is_limited_by_the_labels(recognizer: Recognizer, video: Path) -> None:
    assert len(recognizer(video, top_k=1).labels) == 1
    assert len(recognizer(video, top_k=1000).labels) == 25


@pytest.mark.parametrize("count", [0, -1])
def test_counts_below_one_are_refused(recognizer: Recognizer, video: Path, count: int) -> None:
    for ask in (recognizer, recognizer.explain):
        with pytest.raises(ValueError, match=f"^top_k must be at least 1, not {count}$"):
            ask(video, top_k=count)
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        recognizer.predict(recognizer.read(video), top_k=count)
    with pytest.raises(ValueError, match="max_windows must be at least 1"):
        recognizer.timeline(video, max_windows=count)


def test_sampler_can_be_overridden(recognizer: Recognizer, video: Path) -> None:
    prediction = recognizer(video, sampler="equidistant")
    assert prediction.clip.frames[1].sources == (11,)
    assert prediction.clip.spec.sampler == "equidistant"
    with pytest.raises(ModelError, match="sampler"):
        recognizer(video, sampler="psychic")


def test_vivit_predicts(tmp_path: Path, video: Path) -> None:
    prediction = Recognizer.from_pretrained(write_checkpoint(tmp_path, "scratch:vivit-tiny"), device="cpu")(video)
    assert len(prediction.clip.frames) == 8
    assert len(prediction.labels) == 5


def test_threads_can_share_a_recognizer(recognizer: Recognizer, tmp_path: Path) -> None:
    paths = [write_mp4(tmp_path / f"{n}.mp4", moving_bar(n)) for n in (10, 40, 70, 100)]
    alone = [recognizer(path) for path in paths]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(recognizer, paths * 3))
    for one, other in zip(alone * 3, together, strict=True):
        assert one.clip.frames == other.clip.frames
        np.testing.assert_array_equal(one.clip.pixels, other.clip.pixels)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_clip_can_be_reused(recognizer: Recognizer, video: Path) -> None:
    clip = read_clip(video, recognizer.loaded.clip_spec)
    assert recognizer.predict(clip).probabilities == pytest.approx(recognizer(video).probabilities)


def test_missing_file_is_named_without_its_folder(recognizer: Recognizer) -> None:
    with pytest.raises(VideoError, match=r"^gone\.mp4: there is no such file\.$"):
        recognizer("/somewhere/secret/gone.mp4")
