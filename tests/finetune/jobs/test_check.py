import shutil
from pathlib import Path

import pytest
from PIL import Image

from finetune.cli import main
from finetune.config.data import DataSource
from finetune.data.sample import SPLITS
from finetune.jobs.check import check
from tests.support.datasets import shape_clip, write_clip, write_dataset, write_tables


def test_broken_short_and_duplicated_clips_are_listed(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 10)
    (root / "circle" / "clip_03" / "0.png").write_bytes(b"no image")
    shutil.rmtree(root / "square" / "clip_05")
    shutil.copytree(root / "square" / "clip_04", root / "square" / "clip_05")
    write_clip(root / "circle" / "still", shape_clip(0, 77, 2))
    found = check(DataSource(str(root)), contact_sheet=tmp_path / "sheet.png")
    assert found.counts == {"circle": 11, "square": 10}
    assert list(found.broken) == ["circle/clip_03"]
    assert found.short == {"circle/still": 2}
    assert found.duplicates == (("square/clip_05", "square/clip_04"),)
    told = "\n".join(found.lines())
    for words in (
        "21 clips of 2 classes",
        "1 cannot be read: circle/clip_03",
        "1 duplicated",
        "recipe small from facebook",
    ):
        assert words in told
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (6 * 100 - 4, 4 * 100 - 4)


def test_a_data_set_that_cannot_be_split_gets_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_dataset(tmp_path / "data", 2)
    assert main(["check", "--data", str(root)]) == 1
    assert "No splits: circle has too few clips" in capsys.readouterr().out


def test_a_class_whose_training_clips_are_all_damaged_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_dataset(tmp_path / "data", 4)
    rows = {split: [(label, f"clip_0{n}") for label in ("circle", "square")] for n, split in enumerate(SPLITS)}
    write_tables(root, **rows)
    (root / "circle" / "clip_00" / "0.png").write_bytes(b"no image")
    told = "The train split of data (as the data set gives it) has no clip of circle that can be read."
    assert told in check(DataSource(str(root))).problem
    words = ["--data", str(root), "--output", str(tmp_path / "run"), "--init", "scratch:tiny", "--allow-broken"]
    assert main([*words, "--sampler", "equidistant", "--epochs", "1"]) == 1
    assert told in caplog.text


def test_of_a_cross_validation_one_fold_is_checked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_dataset(tmp_path / "data", 6)
    assert main(["check", "--data", str(root), "--folds", "3"]) == 1
    assert "Choose one, such as --fold 1" in caplog.text
    assert "Nothing could be trained" not in caplog.text
    found = check(DataSource(str(root), folds=3, fold=2))
    assert any("fold 2 of 3 as test" in line for line in found.lines())
