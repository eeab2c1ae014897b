from pathlib import Path

import pytest

from finetune.data.layouts import index_dataset
from finetune.jobs.subset import cut_subset
from hmdb.errors import DataError
from tests.support.datasets import empty_videos, write_dataset


def test_a_seeded_part_is_cut_out_and_divided(tmp_path: Path) -> None:
    root = empty_videos(tmp_path / "all", run=30, wave=25, jump=40)
    splits = cut_subset(str(root), tmp_path / "part", ["run", "jump"], 20, seed=1)
    assert splits.classes == ("jump", "run")
    assert [len(part) for part in splits.by_name().values()] == [28, 8, 4]
    found = index_dataset(str(tmp_path / "part"))
    assert len(found.samples) == 40
    assert {part: len(samples) for part, samples in found.given.items()} == {"train": 28, "val": 8, "test": 4}
    again = cut_subset(str(root), tmp_path / "again", ["run", "jump"], 20, seed=1)
    assert again.hash == splits.hash
    assert cut_subset(str(root), tmp_path / "other", ["run", "jump"], 20, seed=2).hash != splits.hash


def test_folders_of_frames_are_cut_too(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "all", 11, num_frames=2)
    cut_subset(str(root), tmp_path / "part", ["circle", "square"], 10, seed=0)
    assert len(list((tmp_path / "part").rglob("*.png"))) == 40


def test_missing_classes_and_clips_are_named(tmp_path: Path) -> None:
    root = empty_videos(tmp_path / "all", run=5, wave=5)
    with pytest.raises(DataError, match="kick has 0 clip"):
        cut_subset(str(root), tmp_path / "part", ["kick"], 5, seed=0)
    with pytest.raises(DataError, match=r"run has 5 clip.*fewer than --clips 6"):
        cut_subset(str(root), tmp_path / "part", ["run"], 6, seed=0)
