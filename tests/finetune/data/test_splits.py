from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.config.data import DataSource
from finetune.data.sample import Sample
from finetune.data.splits import Splits, read_splits
from hmdb.errors import DataError
from tests.support.datasets import empty_videos, shape_clip, write_clip, write_dataset, write_tables


def names(part: tuple[Sample, ...]) -> set[str]:
    return {sample.name for sample in part}


def test_paper_split_sizes(tmp_path: Path) -> None:
    root = empty_videos(tmp_path, **{f"class_{number:02}": 50 for number in range(25)})
    splits = read_splits(DataSource(str(root)), seed=0)
    assert [len(part) for part in splits.by_name().values()] == [900, 225, 125]
    assert {sum(sample.label == label for sample in splits.test) for label in splits.classes} == {5}
    assert {sum(sample.label == label for sample in splits.val) for label in splits.classes} == {9}
    assert read_splits(DataSource(str(root)), seed=0).hash == splits.hash
    assert read_splits(DataSource(str(root)), seed=1).hash != splits.hash


def test_groups_keep_source_videos_together(tmp_path: Path) -> None:
    root = empty_videos(tmp_path, run=40, wave=40)
    splits = read_splits(DataSource(str(root), "groups"))
    sources = [{sample.group for sample in part} for part in splits.by_name().values()]
    assert not sources[0] & sources[1]
    assert not sources[0] & sources[2]
    assert not sources[1] & sources[2]
    assert sum(map(len, splits.by_name().values())) == 80
    assert 6 <= len(splits.test) <= 10
    assert "unknown" not in splits.origin


def test_origin_counts_clips_of_unknown_source(dataset: Path) -> None:
    splits = read_splits(DataSource(str(dataset), "groups"))
    assert "unknown for 40 clips, each taken by itself" in splits.origin


def test_official_split_takes_val_from_train(tmp_path: Path) -> None:
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
    assert not {s.group for s in splits.train} & {s.group for s in splits.val}
    with pytest.raises(DataError, match=r"_test_split3\.txt"):
        read_splits(DataSource(str(root), "official3"))


def test_a_written_split_is_read_back(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 20)
    splits = read_splits(DataSource(str(root)), seed=3)
    splits.write(root)
    again = read_splits(DataSource(str(root)))
    assert "gives it" in again.origin
    assert again.hash == splits.hash
    assert read_splits(DataSource(str(root), "paper"), seed=3).hash == splits.hash


def test_bad_splits_are_refused(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 2)
    with pytest.raises(DataError, match=r"circle has too few clips: each class needs at least 3"):
        read_splits(DataSource(str(root)))
    root = write_dataset(tmp_path / "more", 4)
    with pytest.raises(DataError, match="no split dense; known are auto, given"):
        DataSource(str(root), "dense")
    with pytest.raises(DataError, match="comes without splits; --split paper makes them"):
        read_splits(DataSource(str(root), "given"))
    both = [("circle", "clip_00"), ("square", "clip_00")]
    write_tables(root, train=both, val=[("circle", "clip_01"), ("square", "clip_01")], test=[("circle", "clip_02")])
    with pytest.raises(DataError, match=r"The test split .* no clip of square"):
        read_splits(DataSource(str(root)))
    write_tables(root, test=both)
    with pytest.raises(DataError, match=r"in more than one split: circle/clip_00"):
        read_splits(DataSource(str(root)))


def test_clips_are_left_out_by_name() -> None:
    a, b, c = (Sample(Path(name), "x", name) for name in "abc")
    splits = Splits(classes=("x",), train=(a, b), val=(b,), test=(c,), origin="")
    assert splits.without({"a": "broken"}).by_name() == {"train": (b,), "val": (b,), "test": (c,)}
    with pytest.raises(DataError, match=r"The val split of data \(\) has no clip of x that can be read\."):
        splits.without({"b": "broken"})


def test_nine_clips_a_class_are_enough(tmp_path: Path) -> None:
    labels = [f"class {number}" for number in range(10)]
    splits = read_splits(table(tmp_path, [(label, f"p{person}") for label in labels for person in range(9)]))
    assert [len(samples) for samples in splits.by_name().values()] == [64, 16, 10]
    for samples in splits.by_name().values():
        assert {sample.label for sample in samples} == set(labels)


def table(folder: Path, rows: list[tuple[str, str]], **options: Any) -> DataSource:
    """A csv of (label, person); every clip is of one frame."""
    lines = ["path,label,who"]
    for index, (label, person) in enumerate(rows):
        write_clip(folder / person / f"{index}_{person}_take", shape_clip(0, index, 1))
        lines.append(f"{person}/{index}_{person}_take,{label},{person}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return DataSource(str(folder / "table.csv"), **options)


PEOPLE_ROWS = [(label, f"p{person}") for label in ("jump", "run") for person in range(6) for _ in range(2)]


@pytest.mark.parametrize("group_by", ["who", "folder", r"_(p\d)_"])
def test_no_person_is_in_two_splits(group_by: str, tmp_path: Path) -> None:
    source = table(tmp_path, PEOPLE_ROWS, group_by=group_by, test_share=0.3, val_share=0.3)
    splits = read_splits(source)
    people = [{sample.group for sample in samples} for samples in splits.by_name().values()]
    assert len(set.union(*people)) == sum(map(len, people)) == 6
    assert all(people)
    assert group_by in splits.origin
    assert len(splits.test) == 8


def test_each_clip_is_tested_in_one_fold(tmp_path: Path) -> None:
    source = table(tmp_path, PEOPLE_ROWS, group_by="who", folds=3)
    folds = [read_splits(replace(source, fold=number)) for number in (1, 2, 3)]
    tested = [sample.name for fold in folds for sample in fold.test]
    assert len(tested) == len(set(tested)) == 24
    for fold in folds:
        assert not {sample.group for sample in fold.test} & {sample.group for sample in (*fold.train, *fold.val)}
    assert "fold 2 of 3 as test" in folds[1].origin
    with pytest.raises(DataError, match=r"--folds 3 tests each clip once, in 3 runs. Choose one, such as --fold 1"):
        read_splits(source)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"group_by": "person"}, "no column person to group by. Name a column of the csv, folder, or a pattern"),
        ({"group_by": "(["}, r"is no regular expression with a part in brackets"),
        ({"group_by": "x(y)z"}, r"finds nothing in the name 0_p0_take"),
        ({"group_by": "take(.*)"}, r"finds nothing|into one group, so none could test"),
        ({"group_by": "who", "folds": 7, "fold": 1}, r"too few groups to keep apart: 6 \(p0, p1, p2\)"),
        ({"folds": 13, "fold": 1}, "too few for 13 folds. Lower --folds"),
        ({"folds": 1}, "at least 2 folds, not 1"),
        ({"folds": 3, "fold": 4}, "There is no fold 4 of 3"),
        ({"folds": 3, "split": "given"}, "--folds makes the splits itself; leave out --split given"),
        ({"folds": 3, "split": "official2"}, "--folds makes the splits itself; leave out --split official2"),
        ({"folds": 3, "test_share": 0.3}, "--test-share 0.3 has no effect: each of the 3 folds tests as many"),
        ({"fold": 1}, "--fold 1 needs --folds"),
        ({"test_share": 0.99}, "leaves too few"),
        ({"test_share": 1.5}, "test_share must be above 0 and below 1, not 1.5"),
        ({"group_by": "who", "split": "given"}, "--group-by makes the splits itself; leave out --split given"),
    ],
)
def test_impossible_splits_are_refused(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        read_splits(table(tmp_path, PEOPLE_ROWS, **options))


def test_shares_of_given_splits_are_refused(tmp_path: Path) -> None:
    root = empty_videos(tmp_path / "data", run=6, wave=6)
    for label in ("run", "wave"):
        lines = [f"{path.name} {1 + n // 4}" for n, path in enumerate(sorted((root / label).iterdir()))]
        (root / f"{label}_test_split1.txt").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"--test-share 0\.3 has no effect: data comes with a test split"):
        read_splits(DataSource(str(root), test_share=0.3))
    assert "30% of its train part" in read_splits(DataSource(str(root), val_share=0.3)).origin
    read_splits(DataSource(str(root), "paper")).write(root)
    for split, source in (
        ("test", DataSource(str(root), test_share=0.3)),
        ("val", DataSource(str(root), val_share=0.3)),
    ):
        with pytest.raises(
            DataError, match=f"--{split}-share 0.3 has no effect: data comes with a {split} split. --split"
        ):
            read_splits(source)
    assert read_splits(DataSource(str(root), "paper", test_share=0.3, val_share=0.3))


@pytest.mark.parametrize(("films", "apart"), [(5, True), (1, False)])
def test_val_is_cut_from_a_given_train_split_by_source(films: int, apart: bool, tmp_path: Path) -> None:
    lines = ["path,label,split,source"]
    for label in ("jump", "run"):
        for clip in range(20):
            split, film = ("test", f"{label} last") if clip < 5 else ("train", f"{label} {clip % films}")
            (tmp_path / f"{label}_{clip}.mp4").touch()
            lines.append(f"{label}_{clip}.mp4,{label},{split},{film}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    splits = read_splits(DataSource(str(tmp_path / "table.csv")))
    assert [len(part) for part in splits.by_name().values()] == [24, 6, 10]
    assert {sample.label for sample in splits.val} == {"jump", "run"}
    shared = {sample.group for sample in splits.train} & {sample.group for sample in splits.val}
    assert bool(shared) != apart
    assert ("by source video" in splits.origin) == apart


def test_two_people_are_too_few_for_three_splits(tmp_path: Path) -> None:
    rows = [(label, f"p{person}") for label in ("jump", "run") for person in range(2) for _ in range(6)]
    with pytest.raises(DataError, match=r"too few groups to keep apart: 1 \(p\d\)"):
        read_splits(table(tmp_path, rows, group_by="who"))


@pytest.mark.parametrize("clips", [(12, 4), (40, 3), (60, 60, 3)])
def test_a_rare_class_has_clips_in_every_split(clips: tuple[int, ...], tmp_path: Path) -> None:
    root = empty_videos(tmp_path, **{f"class_{kind}": count for kind, count in enumerate(clips)})
    splits = read_splits(DataSource(str(root)))
    assert sum(map(len, splits.by_name().values())) == sum(clips)
    for samples in splits.by_name().values():
        assert {sample.label for sample in samples} == {f"class_{kind}" for kind in range(len(clips))}
