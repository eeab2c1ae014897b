import json
from pathlib import Path

import numpy as np
import pytest

from finetune.config.data import DataSource
from finetune.data.hmdb51 import group_of
from finetune.data.layouts import index_dataset
from finetune.data.splits import read_splits
from hmdb.errors import DataError
from tests.support.datasets import empty_videos, shape_clip, write_clip, write_dataset, write_tables
from tests.support.hub import HubServer

HMDB51_NAME = "April_09_brush_hair_u_nm_np1_ba_goo_0.avi"


def test_a_folder_of_classes(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 2)
    (root / "circle" / "notes.txt").touch()
    found = index_dataset(str(root))
    assert found.classes == ("circle", "square")
    assert [sample.name for sample in found.samples][:2] == ["circle/clip_00", "circle/clip_01"]
    assert not found.given
    assert not found.official


def test_hidden_files_are_no_clips(tmp_path: Path) -> None:
    root = empty_videos(tmp_path / "data", run=1, wave=1)
    for label in ("run", "wave"):
        (root / label / "._clip.avi").touch()
        write_clip(root / label / ".thumbnails", np.zeros((1, 8, 8, 3), np.uint8))
        (root / label / "empty").mkdir()
        (root / label / "empty" / "._0.jpg").touch()
    assert len(index_dataset(str(root)).samples) == 2


def test_source_video_from_names_of_hmdb51() -> None:
    assert group_of(HMDB51_NAME, "brush_hair") == "April_09"
    assert group_of("7B575B30", "smoke") is None


def test_root_at_the_wrong_level_is_explained(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "above" / "data", 2)
    with pytest.raises(DataError, match=r"above is one level too high.*Try .*data\."):
        index_dataset(str(root.parent))
    write_clip(root.parent / "other" / "clip", np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"above is one level too high.*Try .*data\."):
        index_dataset(str(root.parent))
    with pytest.raises(DataError, match=r"one level too low.*Try .*data\."):
        index_dataset(str(root / "circle"))
    with pytest.raises(DataError, match="two levels too low"):
        index_dataset(str(root / "circle" / "clip_00"))
    with pytest.raises(DataError, match="one level too low"):
        index_dataset(str(empty_videos(tmp_path / "videos", run=3) / "run"))


def test_no_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no data folder"):
        index_dataset(str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is no data set"):
        index_dataset(str(tmp_path / "empty"))
    root = write_dataset(tmp_path / "data", 2)
    (root / "hexagon").mkdir()
    with pytest.raises(DataError, match="have no clips: hexagon"):
        index_dataset(str(root))
    (tmp_path / "list.txt").touch()
    with pytest.raises(DataError, match="neither a folder nor a csv"):
        index_dataset(str(tmp_path / "list.txt"))


def test_tables_of_splits_are_checked(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 3)
    rows = {
        part: [(label, f"clip_0{number}") for label in ("circle", "square")]
        for number, part in enumerate(("train", "val", "test"))
    }
    write_tables(root, **rows)
    assert [sample.name for sample in index_dataset(str(root)).given["val"]] == ["circle/clip_01", "square/clip_01"]
    write_tables(root, val=[("circle", "clip_09")])
    with pytest.raises(DataError, match=r"not there: circle/clip_09"):
        index_dataset(str(root))
    write_tables(root, val=[("circle", "clip_00"), ("circle", "clip_00")])
    with pytest.raises(DataError, match="more than once"):
        index_dataset(str(root))
    (root / "val.csv").write_text("label,clip\ncircle,clip_01\n")
    with pytest.raises(DataError, match="needs the columns class, video_name"):
        index_dataset(str(root))
    (root / "val.csv").unlink()
    with pytest.raises(DataError, match=r"lacks val\.csv"):
        index_dataset(str(root))


@pytest.mark.parametrize("place", ["data", "data/splits", "splits"])
def test_official_splits(tmp_path: Path, place: str) -> None:
    root = empty_videos(tmp_path / "data", run=4, wave=4)
    (tmp_path / place).mkdir(exist_ok=True)
    for label in ("run", "wave", "kick"):  # the tables of a class that is not there do no harm
        for number in (1, 2):
            names = [path.name for path in sorted((root / label).glob("*"))] if label != "kick" else ["x.avi"]
            lines = [f"{name} {(index + number) % 3} " for index, name in enumerate(names)]
            (tmp_path / place / f"{label}_test_split{number}.txt").write_text("\n".join(lines) + "\n")
    found = index_dataset(str(root))
    assert found.classes == ("run", "wave")
    assert set(found.official) == {1, 2}
    assert len(found.official[1]["train"]) == 4  # 1, 2, 0, 1 in each class
    assert len(found.official[1]["test"]) == 2
    assert found.samples[0].group == "film_0"


def test_official_splits_of_another_data_set_are_ignored(tmp_path: Path) -> None:
    root = tree(tmp_path / "mine", *(f"{label}/{n}.mp4" for label in ("golf", "wave") for n in range(4)))
    tables = tmp_path / "testTrainMulti_7030_splits"
    tables.mkdir()
    for label in ("golf", "wave"):
        lines = [f"film_{label}_f_cm_np1_ba_med_{n}.avi {n % 2 + 1} " for n in range(4)]
        (tables / f"{label}_test_split1.txt").write_text("\n".join(lines) + "\n")
    assert not index_dataset(str(root)).official
    assert "paper, section 3" in read_splits(DataSource(str(root))).origin
    with pytest.raises(DataError, match=r"mine has no files <class>_test_split1.txt that name its clips"):
        read_splits(DataSource(str(root), "official1"))


def test_decomposed_unicode_names_match_the_tables(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    root = tree(
        tmp_path / "data", *(f"{label}/{decomposed}_{n}.mp4" for label in (decomposed, "bar") for n in range(4))
    )
    rows = [(label, f"{composed}_{n}") for n in range(4) for label in (composed, "bar")]
    write_tables(root, train=rows[:4], val=rows[4:6], test=rows[6:])
    found = index_dataset(str(root))
    assert found.classes == ("bar", composed)
    assert found.given["val"][0].name == f"{composed}/{composed}_2.mp4"
    assert all(sample.path.is_file() for sample in found.samples)
    for label in (composed, "bar"):
        lines = [f"{composed}_{n}.mp4 {n % 2 + 1}" for n in range(4)]
        (root / f"{label}_test_split1.txt").write_text("\n".join(lines))
    assert len(index_dataset(str(root)).official[1]["test"]) == 4
    table = tmp_path / "table.csv"
    table.write_text(
        "path,label\n" + "".join(f"data/{path.relative_to(root)},{path.parent.name}\n" for path in root.glob("*/*"))
    )
    assert index_dataset(str(table)).classes == ("bar", composed)


def test_a_csv_of_path_and_label(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 2)
    table = tmp_path / "clips.csv"
    rows = [f"data/{label}/clip_0{n},{label},film {n}" for label in ("square", "circle") for n in (0, 1)]
    table.write_text("\n".join(["path,label,source", *rows]))
    found = index_dataset(str(table))
    assert found.classes == ("circle", "square")
    assert found.samples[0].path == root / "circle" / "clip_00"
    assert found.samples[0].group == "film 0"
    table.write_text("path,label\ndata/circle/none.avi,circle\n")
    with pytest.raises(DataError, match=r"data/circle/none\.avi, which is no video"):
        index_dataset(str(table))


def test_absolute_paths_in_a_csv_are_shortened_in_names(tmp_path: Path) -> None:
    clips = [
        *write_dataset(tmp_path / "me" / "data", 1).glob("*/*"),
        write_clip(tmp_path / "me" / "more" / "clip", shape_clip(0, 7, 1)),
    ]

    def names(table: Path, paths: list[str]) -> list[str]:
        table.parent.mkdir(exist_ok=True)
        rows = [f"{path},{'ab'[index % 2]}" for index, path in enumerate(paths)]
        table.write_text("\n".join(["path,label", *rows]))
        found = index_dataset(str(table)).samples
        assert all(sample.path.is_dir() for sample in found)
        return sorted(sample.name for sample in found)

    absolute, relative = [str(clip) for clip in clips], ["data/circle/clip_00", "data/square/clip_00", "more/clip"]
    assert names(tmp_path / "me" / "beside.csv", absolute) == relative
    assert names(tmp_path / "elsewhere" / "table.csv", absolute) == relative
    assert names(tmp_path / "me" / "mixed.csv", [*absolute[:2], "more/clip"]) == relative
    assert names(tmp_path / "elsewhere" / "up.csv", ["../me/more/clip", "../me/data/circle/clip_00"]) == [
        "../me/data/circle/clip_00",
        "../me/more/clip",
    ]


def test_a_csv_with_splits(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", 3)
    table = tmp_path / "clips.csv"
    rows = [
        f"data/{label}/clip_0{n},{label},{part}"
        for label in ("circle", "square")
        for n, part in enumerate(("train", "val", "test"))
    ]
    table.write_text("\n".join(["path,label,split", *rows]))
    assert [sample.name for sample in index_dataset(str(table)).given["test"]] == [
        "data/circle/clip_02",
        "data/square/clip_02",
    ]
    table.write_text("\n".join(["path,label,split", *rows[1:3], *rows[4:6]]))
    with pytest.raises(DataError, match="names splits, but no train split"):
        index_dataset(str(table))
    table.write_text("\n".join(["path,label,split", rows[0], rows[3].replace("train", "third")]))
    with pytest.raises(DataError, match="the split third; known are train"):
        index_dataset(str(table))


def test_a_data_set_on_the_hub(hub: HubServer, tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 2)
    hub.add("someone/shapes", root, repo_type="dataset")
    found = index_dataset("hub:someone/shapes")
    assert (found.name, found.on_hub, len(found.samples)) == ("someone/shapes", True, 4)
    with pytest.raises(DataError, match="someone/none cannot be downloaded"):
        index_dataset("hub:someone/none")


def test_a_table_from_the_hub_cannot_name_files_outside(hub: HubServer, tmp_path: Path) -> None:
    outside = write_clip(tmp_path / "secret", np.zeros((2, 8, 8, 3), np.uint8))
    hub.add("someone/table", {"clips.csv": f"path,label\n{outside},a\n{outside},b\n".encode()}, repo_type="dataset")
    with pytest.raises(DataError, match="outside its data set"):
        index_dataset("hub:someone/table")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("path,label\na/clip,caf\u00e9\n".encode("latin-1"), r"table.csv is not a csv in UTF-8: .* at byte 21"),
        (b'path,label\n"' + b"a" * 140_000, r"table.csv is not a csv: field larger than field limit"),
        (b"path,label\n\x00\x00\n", "is not a csv: it has zero bytes"),
        (b"path,label\na/clip, wave\na/other,run\n", "has the label ' wave': a label has no control characters and no"),
        (b"path,label\na/clip,wa\x1bve\na/other,run\n", "a label has no control characters and no space around it"),
        (b"path,label\na/clip,run\na/other,\n", r"table.csv: the row of clip 2 has no label\. Fill it in"),
        (b"path,label\na/clip,run\na/other\n", "the row of clip 2 has no label"),
        (b"path,label\n,run\na/other,wave\n", "the row of clip 1 has no path"),
        (b"path,name\na/clip,run,wave\n", r"needs the columns path, label; it has path, name\."),
        (b"path;label\na/clip;run\n", r"table.csv has one column, path;label\. Separate columns by commas\."),
        (b"path\tlabel\na/clip\trun\n", r"Separate columns by commas\."),
        (b"", "names no clips"),
    ],
)
def test_unreadable_tables_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    for name in ("clip", "other"):
        write_clip(tmp_path / "a" / name, shape_clip(0, 1, 1))
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        index_dataset(str(tmp_path / "table.csv"))


def tree(root: Path, *clips: str) -> Path:
    for clip in clips:
        path = root / clip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_folders_of_splits(tmp_path: Path) -> None:
    places = [
        f"{split}/{label}/{n}.mp4" for split in ("train", "validation", "test") for label in "ab" for n in range(4)
    ]
    found = index_dataset(str(tree(tmp_path / "data", *places)))
    assert found.classes == ("a", "b")
    assert {split: len(samples) for split, samples in found.given.items()} == {"train": 8, "val": 8, "test": 8}
    assert found.given["val"][0].name == "validation/a/0.mp4"
    two = read_splits(DataSource(str(tree(tmp_path / "two", *(place for place in places if "valid" not in place)))))
    assert [len(samples) for samples in two.by_name().values()] == [6, 2, 8]
    assert "val being 20% of its train split" in two.origin
    clips = index_dataset(str(tree(tmp_path / "classes", "train/0.mp4", "train/1.mp4", "bus/2.mp4")))
    assert clips.classes == ("bus", "train"), "a class may be called train"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], r"metadata\.jsonl names no clips"),
        (['{"file_name": "0.mp4", "label": "a"}', '{"file_name": "1.mp4"}'], "the row of clip 2 has no label"),
        (['{"file_name": "0.mp4", "label": null}'], "the row of clip 1 has no label"),
        (['{"file_name": "", "action": "a"}'], "the row of clip 1 has no file_name"),
        (['{"file_name": ".", "label": "a"}'], r"names \., which is no video file"),
        (['{"file_name": "0.mp4", "what": "a"}'], r"file_name, label or class or category or action; it has file_name"),
    ],
)
def test_metadata_with_gaps_are_refused(lines: list[str], reason: str, tmp_path: Path) -> None:
    tree(tmp_path, "0.mp4", "1.mp4")
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=reason):
        index_dataset(str(tmp_path))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_hubs_video_folder(form: str, tmp_path: Path) -> None:
    places = [f"{split}/{n}.mp4" for split in ("train", "test") for n in range(4)]
    root = tree(tmp_path / "data", *places)
    rows = [
        {"file_name": place, "label": "ab"[index % 2], "person": f"p{index % 4}"} for index, place in enumerate(places)
    ]

    def write(table: Path, prefix: str) -> None:
        own = [
            {**row, "file_name": row["file_name"].removeprefix(prefix)} for row in rows if prefix in row["file_name"]
        ]
        lines = [json.dumps(row) for row in own]
        if form == "csv":
            lines = ["file_name,label,person", *(",".join(row.values()) for row in own)]
        (table / f"metadata.{form}").write_text("\n".join(lines) + "\n")

    write(root, "")
    whole = index_dataset(str(root), "person")
    assert {split: len(samples) for split, samples in whole.given.items()} == {"train": 4, "test": 4}
    assert {sample.group for sample in whole.samples} == {"p0", "p1", "p2", "p3"}
    (root / f"metadata.{form}").unlink()
    for split in ("train/", "test/"):
        write(root / split, split)
    assert index_dataset(str(root), "person") == whole
    (root / "train" / f"metadata.{form}").write_text("file_name\n" if form == "csv" else "[1]\n")
    with pytest.raises(DataError, match=r"names no clips|is not json, an object a line"):
        index_dataset(str(root))
