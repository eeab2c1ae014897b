import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from finetune.config.data import DataSource
from finetune.data.dataset import read_thumbnails
from finetune.data.leakage import (
    _same_motion,
    content_hash,
    find_leaks,
    fingerprint,
    fingerprints,
    mirrored,
    perceptual_hashes,
)
from finetune.data.sample import Sample
from finetune.data.splits import Splits, read_splits
from tests.support.datasets import shape_clip, write_clip, write_dataset, write_people


def kinds(splits: Splits) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for leak in find_leaks(splits, fingerprints(read_thumbnails(splits))).found:
        found.setdefault(leak.kind, set()).add(leak.clip)
    return found


def test_distinct_clips_do_not_leak(dataset: Path) -> None:
    splits = read_splits(DataSource(str(dataset)))
    assert not kinds(splits)
    report = find_leaks(splits, {})
    assert report.unknown_sources == report.clips == 40
    assert "unknown for 40 of 40" in report.lines()[0]


def test_copies_and_near_duplicates_leak(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 20)
    splits = read_splits(DataSource(str(root)))
    train, val, test = splits.train[0], splits.val[0], splits.test[0]
    shutil.rmtree(test.path)
    shutil.copytree(train.path, test.path)
    shutil.rmtree(val.path)
    kind = splits.classes.index(train.label)
    brighter = np.clip(shape_clip(kind, int(train.path.name[-2:])) * 1.1, 0, 255)
    write_clip(val.path, brighter.astype(np.uint8)[:, :, ::-1])
    found = kinds(splits)
    assert found["same file"] == {test.name}
    assert {test.name, val.name} <= found["near-duplicate frames"]
    assert content_hash(train.path) == content_hash(test.path) != content_hash(val.path)


def test_clips_of_one_source_video_leak() -> None:
    def sample(name: str, source: str | None) -> Sample:
        return Sample(Path(__file__), "x", name, source)

    splits = Splits(
        classes=("x",),
        train=(sample("a", "film 1"), sample("b", None)),
        val=(sample("c", "film 2"),),
        test=(sample("d", "film 1"),),
        origin="",
    )
    report = find_leaks(splits, {})
    assert [(leak.clip, leak.other) for leak in report.found if leak.kind == "same source video"] == [("d", "a")]
    assert report.unknown_sources == 1
    told = "1 clip(s) of test and train (d and a, for one); --split groups keeps the clips of a source in one split"
    assert any(told in line for line in report.lines())


def test_flat_frames_have_no_hashes() -> None:
    assert perceptual_hashes(np.full((2, 16, 16, 3), 90, np.uint8)).shape == (0, 144)
    assert perceptual_hashes(shape_clip(0, 1)).shape == (8, 144)


def test_mirrored_frames_match() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 36, 36, 3)).astype(np.uint8)
    there, back = perceptual_hashes(frames), perceptual_hashes(frames[:, :, ::-1])
    assert (mirrored(there) != back).mean() < 0.02  # ties apart
    assert np.array_equal(mirrored(mirrored(there)), there)


def test_common_background_is_no_near_duplicate(tmp_path: Path) -> None:
    root = write_people(tmp_path / "people", motions=("walk", "jack", "bend"), num_frames=8)
    source = DataSource(str(root), group_by=r"^([a-z]+)_")
    assert not kinds(read_splits(source))
    splits = read_splits(source)
    train, test = splits.train[0], splits.test[0]
    for frame in sorted(train.path.iterdir()):
        with Image.open(frame) as image:
            ImageEnhance.Brightness(image).enhance(1.05).save(test.path / frame.name)
    assert kinds(splits) == {"near-duplicate frames": {test.name}}


def test_motion_matches_mirrored_and_still_clips_match() -> None:
    frames = shape_clip(0, 1)
    there, back, still = (fingerprint(each).motion for each in (frames, frames[:, :, ::-1], frames[:1].repeat(8, 0)))
    assert _same_motion(there, back)
    assert not _same_motion(there, fingerprint(shape_clip(0, 2)).motion)
    assert _same_motion(still, still)
    assert not _same_motion(still, there)
