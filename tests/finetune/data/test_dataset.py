import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.config.data import DataSource
from finetune.config.recipes import recipe_of
from finetune.data.dataset import UNLABELLED, ClipDataset, refuse_many_broken
from finetune.data.layouts import index_dataset
from finetune.data.sample import Sample
from finetune.jobs.train import train
from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import read_clip
from hmdb.errors import DataError
from hmdb.model.preprocess import PixelSpec, resize_and_crop
from tests.finetune.conftest import TINY
from tests.support.clips import moving_bar, write_mp4
from tests.support.datasets import write_dataset

EVEN = ClipSpec(sampler="equidistant")
RANDOM = ClipSpec(sampler="random")
PIXELS = PixelSpec.paper(16)


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    return index_dataset(str(write_dataset(tmp_path / "data", 3, num_frames=12))).samples


def test_an_item_is_pixels_and_a_class(samples: tuple[Sample, ...]) -> None:
    item = ClipDataset(samples, ("circle", "square"), EVEN, PIXELS)[4]
    assert item["pixel_values"].shape == (8, 16, 16, 3)
    assert item["pixel_values"].dtype == torch.uint8
    assert item["labels"] == 1


def test_targets_and_missing_labels(samples: tuple[Sample, ...]) -> None:
    clips = ClipDataset(samples, ("square",), EVEN, PIXELS)
    clips.targets = np.arange(6, dtype=np.float32)[:, None]
    assert clips[0]["labels"] == UNLABELLED
    assert clips.class_ids.tolist() == [UNLABELLED] * 3 + [0] * 3
    assert clips[5]["targets"].tolist() == [5.0]


def test_random_sampler_redraws_by_epoch_in_training_only(samples: tuple[Sample, ...]) -> None:
    training = ClipDataset(samples, ("circle", "square"), RANDOM, PIXELS, redraw=True)
    evaluating = ClipDataset(samples, ("circle", "square"), RANDOM, PIXELS)
    first = [training.frames(0), evaluating.frames(0)]
    for clips in (training, evaluating):
        clips.set_epoch(1)
    assert not np.array_equal(training.frames(0), first[0])
    assert np.array_equal(evaluating.frames(0), first[1])
    training.set_epoch(0)
    assert np.array_equal(training.frames(0), first[0])


def test_the_trainer_advances_the_epoch_of_the_random_sampler(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    read = ClipDataset._read

    def record(clips: ClipDataset, row: int) -> np.ndarray:
        if clips._redraw:
            drawn.append(clips._epoch)
        return read(clips, row)

    monkeypatch.setattr(ClipDataset, "_read", record)
    recipe = recipe_of("paper", TINY | {"sampler": "random", "epochs": 2})
    train(recipe, DataSource(str(dataset)), tmp_path / "run")
    trained, for_the_detector = drawn[-84:-28], drawn[-28:]
    assert trained == [0] * 28 + [1] * 28, "the 28 training clips, once an epoch"
    assert for_the_detector == [1] * 28


def test_cache_is_reused_for_the_same_clips(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    cache = tmp_path / "clips" / "train"
    before = ClipDataset(samples, ("circle", "square"), EVEN, PIXELS, cache=cache)
    shutil.move(samples[0].path / "0.png", samples[0].path / "0.txt")
    written = cache.stat().st_mtime_ns
    assert ClipDataset(samples[1:], ("circle", "square"), EVEN, PIXELS, cache=cache).samples == samples[1:]
    assert cache.stat().st_mtime_ns > written
    again = ClipDataset(samples[1:], ("circle", "square"), EVEN, PIXELS, cache=cache)
    assert np.array_equal(again.frames(0), before.frames(1))
    assert sorted(path.name for path in cache.parent.iterdir()) == ["train", "train.json"]


def test_broken_clips_are_named_and_left_out(samples: tuple[Sample, ...]) -> None:
    (samples[1].path / "0.png").write_bytes(b"no image")
    clips = ClipDataset(samples, ("circle", "square"), EVEN, PIXELS)
    assert list(clips.broken) == ["circle/clip_01"]
    assert [sample.name for sample in clips.samples][:2] == ["circle/clip_00", "circle/clip_02"]
    assert clips[2]["labels"] == 1
    with pytest.raises(DataError, match=r"1 of 6 clips cannot be read, more than 2%.*circle/clip_01.*--allow-broken"):
        refuse_many_broken({"train": clips}, allowed=False)
    assert list(refuse_many_broken({"train": clips}, allowed=True)) == ["circle/clip_01"]


def test_clip_deleted_during_training_is_named(samples: tuple[Sample, ...]) -> None:
    clips = ClipDataset(samples, ("circle", "square"), RANDOM, PIXELS, redraw=True)
    shutil.rmtree(samples[0].path)
    with pytest.raises(DataError, match="circle/clip_00 cannot be read any more"):
        clips[0]


def test_full_disk_is_detected_before_reading(samples: tuple[Sample, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 0, 10))
    with pytest.raises(DataError, match="no room for the decoded clips"):
        ClipDataset(samples, ("circle", "square"), EVEN, PIXELS)


def test_videos_and_frame_folders_are_read_alike(tmp_path: Path) -> None:
    for label in ("circle", "square"):
        (tmp_path / label).mkdir()
        for number, num_frames in enumerate((5, 40, 300)):
            write_mp4(tmp_path / label / f"{number}.mp4", moving_bar(num_frames, (64, 48)))
    (tmp_path / "square" / "3.avi").write_bytes(b"RIFF")
    samples = index_dataset(str(tmp_path)).samples
    clips = ClipDataset(samples, ("circle", "square"), ClipSpec(), PIXELS)
    assert list(clips.broken) == ["square/3.avi"]
    assert len(clips) == 6
    for index in range(6):
        pixels = clips.frames(index)
        assert pixels.shape == (8, 16, 16, 3)
        assert pixels.std() > 10
        alone = resize_and_crop(read_clip(clips.samples[index].path, ClipSpec()).pixels, PIXELS)
        assert np.array_equal(pixels, alone)


def test_balanced_weights_are_inverse_frequencies(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 6)
    samples = [sample for sample in index_dataset(str(root)).samples if sample.label == "circle" or "05" in sample.name]
    dataset = ClipDataset(samples, ("circle", "disc", "square"), ClipSpec(sampler="equidistant"), PixelSpec.paper(32))
    assert dataset.balanced_weights().tolist() == pytest.approx([7 / 18, 0, 7 / 3])
