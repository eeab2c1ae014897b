from pathlib import Path

import pytest

from finetune.data.layouts import Sample
from finetune.data.source import DataSource
from finetune.data.splits import Splits, read_splits
from hmdb.errors import DataError
from tests.datasets import write_dataset, write_tables
from tests.finetune.data.test_layouts import empty_videos


def names(part: tuple[Sample, ...]) -> set[str]:
    return {sample.name for sample in part}


def test_the_papers_split_is_900_225_125_with_each_class_in_its_share(tmp_path: Path) -> None:
    root = empty_videos(tmp_path, **{f"class_{number:02}": 50 for number in range(25)})
    splits = read_splits(DataSource(str(root)), seed=0)
    assert [len(part) for part in splits.by_name().values()] == [900, 225, 125]
    assert {sum(sample.label == label for sample in splits.test) for label in splits.classes} == {5}
    assert {sum(sample.label == label for sample in splits.val) for label in splits.classes} == {9}
    assert read_splits(DataSource(str(root)), seed=0).hash == splits.hash
    assert read_splits(DataSource(str(root)), seed=1).hash != splits.hash


def test_groups_keep_a_source_video_on_one_side(tmp_path: Path) -> None:
    root = empty_videos(tmp_path, run=40, wave=40)
    splits = read_splits(DataSource(str(root), "groups"))
    sources = [{sample.source for sample in part} for part in splits.by_name().values()]
    assert not sources[0] & sources[1]
    assert not sources[0] & sources[2]
    assert not sources[1] & sources[2]
    assert sum(map(len, splits.by_name().values())) == 80
    assert 6 <= len(splits.test) <= 10
    assert "unknown" not in splits.origin


def test_groups_say_where_no_source_is_known(dataset: Path) -> None:
    splits = read_splits(DataSource(str(dataset), "groups"))
    assert "unknown for 40 clips, each taken by itself" in splits.origin


def test_official_split_with_val_taken_from_its_train_part(tmp_path: Path) -> None:
    root = empty_videos(tmp_path / "data", run=20, wave=20)
    for label in ("run", "wave"):
        lines = [
            f"{path.name} {1 if n < 14 else 2 if n < 18 else 0}"
            for n, path in enumerate(sorted((root / label).iterdir()))
        ]
        (tmp_path / "data" / f"{label}_test_split1.txt").write_text("\n".join(lines))
    splits = read_splits(DataSource(str(root)))
    assert "official split 1" in splits.origin
    assert len(splits.test) == 8
    assert len(splits.train) + len(splits.val) == 28
    assert not {s.source for s in splits.train} & {s.source for s in splits.val}
    with pytest.raises(DataError, match=r"_test_split3\.txt"):
        read_splits(DataSource(str(root), "official3"))


def test_a_written_split_is_read_again(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 20)
    splits = read_splits(DataSource(str(root)), seed=3)
    splits.write(root)
    again = read_splits(DataSource(str(root)))
    assert "gives it" in again.origin
    assert again.hash == splits.hash
    assert read_splits(DataSource(str(root), "paper"), seed=3).hash == splits.hash


def test_bad_splits(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 4)
    with pytest.raises(DataError, match=r"too few to divide.*has 4"):
        read_splits(DataSource(str(root)))
    with pytest.raises(DataError, match="too few to divide"):
        read_splits(DataSource(str(root), "groups"))
    with pytest.raises(DataError, match="no split dense; known are auto, given"):
        DataSource(str(root), "dense")
    with pytest.raises(DataError, match="does not say which clips train"):
        read_splits(DataSource(str(root), "given"))
    both = [("circle", "clip_00"), ("square", "clip_00")]
    write_tables(root, train=both, val=[("circle", "clip_01"), ("square", "clip_01")], test=[("circle", "clip_02")])
    with pytest.raises(DataError, match=r"The test part .* no clip of square"):
        read_splits(DataSource(str(root)))
    write_tables(root, test=both)
    with pytest.raises(DataError, match=r"in more than one part: circle/clip_00"):
        read_splits(DataSource(str(root)))


def test_clips_can_be_left_out() -> None:
    a, b = (Sample(Path(name), "x", name) for name in "ab")
    splits = Splits(classes=("x",), train=(a, b), val=(a,), test=(b,), origin="")
    assert splits.without({"a": "broken"}).by_name() == {"train": (b,), "val": (), "test": (b,)}
