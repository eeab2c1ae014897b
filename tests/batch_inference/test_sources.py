from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from hmdb.batch_inference.sources import find_sources
from hmdb.errors import DataError


def names(videos: list[str]) -> list[str]:
    return [video.rpartition("/")[2] for video in videos]


def test_files_folders_and_globs_without_duplicates(videos: Path) -> None:
    found = find_sources([str(videos / "1.mp4"), str(videos), f"{videos}/?.mp4"], "path")
    assert names(found)[:2] == ["1.mp4", "0.mp4"]
    assert len(found) == len(set(found)) == 12
    assert all(map(os.path.isabs, found))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_column_of_a_table(suffix: str, tmp_path: Path) -> None:
    table, rows = tmp_path / f"videos{suffix}", ["a.mp4", "/there/b.mp4", "s3://bucket/c.mp4", "a.mp4"]
    if suffix == ".csv":
        table.write_text("id,clip\n" + "".join(f"{number},{row}\n" for number, row in enumerate(rows)))
    elif suffix == ".jsonl":
        table.write_text("".join(json.dumps({"clip": row}) + "\n" for row in rows))
    else:
        parquet.write_table(pa.table({"clip": rows}), table)
    assert find_sources([str(table)], "clip") == [str(tmp_path / "a.mp4"), "/there/b.mp4", "s3://bucket/c.mp4"]
    with pytest.raises(DataError, match=r"has no column path; it has (id, )?clip\. Name one with --column\.$"):
        find_sources([str(table)], "path")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_paths_in_tables_stay_text(suffix: str, tmp_path: Path) -> None:
    table, rows = tmp_path / f"videos{suffix}", ["001", "1e5", "2024-01-02", "2024-01-02T03:04:05Z", "true"]
    for values in [[row] for row in rows]:
        lines = values if suffix == ".csv" else [json.dumps({"clip": value}) for value in values]
        table.write_text("\n".join(["clip"] * (suffix == ".csv") + lines) + "\n")
        assert names(find_sources([str(table)], "clip")) == values


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode")
def test_a_name_that_no_table_can_hold_is_left_out(videos: Path, tmp_path: Path) -> None:
    for name in (b"good.mp4", b"caf\xe9.mp4"):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes((videos / "0.mp4").read_bytes())
    messages: list[str] = []
    assert names(find_sources([str(tmp_path)], "path", messages.append)) == ["good.mp4"]
    assert len(messages) == 1
    assert "1 file was left out: caf" in messages[0]
    assert messages[0].endswith("Their names are not UTF-8; rename them.")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone", "there is no such file or folder"),
        ("gone/*.mp4", "holds no videos"),
        ("empty", "holds no videos"),
        ("gone.csv", "cannot be read"),
        ("http://127.0.0.1:9/list.csv", "cannot be read"),
        ("http://127.0.0.1:9/folder/", "cannot be read|holds no videos"),  # depends on fsspec's version
        ("nosuch://bucket/folder", "cannot be read"),
    ],
)
def test_an_unusable_source_is_one_line(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        find_sources([source], "path")
    assert str(caught.value).startswith(source)
    assert "\n" not in str(caught.value)


def test_a_folder_behind_a_url(site: str) -> None:
    pytest.importorskip("aiohttp")
    assert f"{site}/1.mp4" in find_sources([f"{site}/"], "path")


def test_globs_of_tables(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text(f"path\n{number}.mp4\nboth.mp4\n")
    expected = ["0.mp4", "both.mp4", "1.mp4", "2.mp4"]
    assert names(find_sources([f"{tmp_path}/*.csv"], "path")) == expected
    assert names(find_sources([f"file://{tmp_path}/*.csv"], "path")) == expected
    with pytest.raises(DataError, match=r"\*\.jsonl matches no tables\.$"):
        find_sources([f"{tmp_path}/*.jsonl"], "path")


def test_the_query_of_a_signed_url_is_neither_glob_nor_path(site: str, videos: Path) -> None:
    pytest.importorskip("aiohttp")
    signed = f"{site}/0.mp4?Signature=a/b"
    assert find_sources([signed], "path") == [signed]
    (videos / "signed.csv").write_text("path\n0.mp4\n")
    try:
        assert find_sources([f"{site}/signed.csv?Signature=a/b"], "path") == [f"{site}/0.mp4"]
        with pytest.raises(DataError) as caught:
            find_sources([f"{site}/gone.csv?Signature=a/b"], "path")
        assert str(caught.value) == f"{site}/gone.csv cannot be read: there is no such file."
    finally:
        (videos / "signed.csv").unlink()


def test_a_folder_with_images_and_videos_is_a_folder_of_videos(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.jpg", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    assert names(find_sources([str(tmp_path)], "path")) == ["a.mp4", "b.mp4"]
