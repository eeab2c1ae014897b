from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import parquet

from hmdb.batch_inference.actors import SEGMENT
from hmdb.batch_inference.parquet_store import ORPHAN_SECONDS, ParquetStore
from hmdb.errors import DataError

JOB: dict[str, Any] = {"model": "tiny", "dtype": "float32", "timeline": False}
TIMED = JOB | {"timeline": True}


def rows(*paths: str, failed: bool = False) -> pa.Table:
    error = "VideoError" if failed else None
    return pa.table(
        {
            "path": pa.array(paths, pa.string()),
            "label": pa.array([None if failed else "wave"] * len(paths), pa.string()),
            "is_known": pa.array([None if failed else True] * len(paths), pa.bool_()),
            "error_class": pa.array([error] * len(paths), pa.string()),
        }
    )


def with_segments(*names: str) -> pa.Table:
    segment = {"label": "wave", "probability": 1.0, "start_frame": 0, "end_frame": 8}
    return rows(*names).append_column("segments", pa.array([[segment]] * len(names), pa.list_(SEGMENT)))


def paths(store: ParquetStore) -> list[str]:
    return sorted(path for (path,) in store.rows("path"))


def open_store(folder: Path | str, job: dict[str, Any] = JOB) -> ParquetStore:
    store = ParquetStore(str(folder))
    store.start(job)
    return store


def test_the_next_run_reads_the_written_rows(tmp_path: Path) -> None:
    first = open_store(tmp_path / "out")
    first.write(rows("a", "b"))
    first.write(rows("c", failed=True))
    first.close()
    second = open_store(tmp_path / "out")
    assert sorted(second.rows("path", "error_class")) == [("a", None), ("b", None), ("c", "VideoError")]
    second.write(rows("d"))
    assert sorted(path.name for path in (tmp_path / "out/answers").iterdir()) == [
        f"part-00000{number}.parquet" for number in range(3)
    ]
    labels, errors = second.counts()
    assert (labels, errors) == ({"wave": 3}, {"VideoError": 1})


def test_a_folder_of_another_job_is_refused_with_the_difference(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with pytest.raises(DataError, match=r'dtype is "float32" there and "int8" here\. Name another folder\.$'):
        open_store(tmp_path, JOB | {"dtype": "int8"})


def test_answers_without_a_manifest_are_refused(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    parquet.write_table(rows("a"), tmp_path / "answers/part-000000.parquet")
    with pytest.raises(DataError, match=r"has answers but no job\.json"):
        open_store(tmp_path)


def hold(folder: str, held: Any, done: Any) -> None:
    store = open_store(folder)
    held.set()
    done.wait()
    store.close()


def test_the_lock_keeps_a_second_job_out(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path), held, done))
    other.start()
    assert held.wait(60)
    with pytest.raises(DataError, match="Another job is writing into"):
        ParquetStore(str(tmp_path))
    other.kill()  # which releases its lock
    other.join()
    open_store(tmp_path).close()


def test_without_a_lock_the_later_of_two_writers_stops(tmp_path: Path) -> None:
    name = f"memory://{tmp_path.name}"
    first, second = open_store(name), open_store(name)
    first.write(rows("a"))
    with pytest.raises(DataError, match="Another job is writing into"):
        second.write(rows("a", "b"))
    assert paths(first) == ["a"]
    MemoryFileSystem().rm(f"/{tmp_path.name}", recursive=True)


def test_unfinished_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    store = open_store(tmp_path, TIMED)
    segments = [[{"label": "wave", "probability": 1.0, "start_frame": 0, "end_frame": 8}], None]
    store.write(rows("a", "b").append_column("segments", pa.array(segments, pa.list_(SEGMENT))))
    store.close()
    assert parquet.read_table(tmp_path / "segments")["path"].to_pylist() == ["a"]
    (tmp_path / "answers/part-000001.parquet.99.tmp").write_bytes(b"half")
    (tmp_path / "segments/part-000001.parquet").write_bytes(b"its answers were not written")
    again = open_store(tmp_path, TIMED)
    assert [path.name for path in sorted(tmp_path.rglob("part-*"))] == ["part-000000.parquet"] * 2
    assert paths(again) == ["a", "b"]


def test_deleting_rows_deletes_their_segments(tmp_path: Path) -> None:
    store = open_store(tmp_path, TIMED)
    store.write(with_segments("a", "b"))
    store.write(with_segments("c"))
    assert store.delete_rows({"b", "absent"}) == 1
    assert paths(store) == ["a", "c"]
    assert sorted(parquet.read_table(tmp_path / "segments")["path"].to_pylist()) == ["a", "c"]


def test_without_a_lock_segments_of_a_live_job_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"memory://{tmp_path.name}"
    waited: list[float] = []
    monkeypatch.setattr("hmdb.batch_inference.parquet_store.time.sleep", waited.append)
    first = open_store(name, TIMED)
    first.write(with_segments("a"))
    answers = f"/{tmp_path.name}/answers/part-000000.parquet"
    content = MemoryFileSystem().cat_file(answers)
    MemoryFileSystem().rm(answers)  # between the two files of a part
    second = open_store(name, TIMED)
    MemoryFileSystem().pipe_file(answers, content)
    with pytest.raises(DataError, match="Another job is writing into"):
        second.write(with_segments("a"))
    MemoryFileSystem().rm(answers)  # this time by a kill
    third = open_store(name, TIMED)
    third.write(with_segments("b"))
    assert len(waited) == 2
    assert all(0 < seconds <= ORPHAN_SECONDS for seconds in waited)
    assert paths(third) == ["b"]
    MemoryFileSystem().rm(f"/{tmp_path.name}", recursive=True)


@pytest.mark.parametrize("target", ["file", "file/below", "x" * 300])
def test_an_impossible_folder_is_one_line(target: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written or read: .*\.$"):
        open_store(tmp_path / target)


def test_a_full_disk_is_one_line_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    store.write(rows("a"))
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")

    def into_full(table: pa.Table, file: Any, **_: Any) -> None:
        with full.open("wb", buffering=0) as device:
            device.write(b"x")

    monkeypatch.setattr(parquet, "write_table", into_full)
    with pytest.raises(DataError, match=r"No space left on device"):
        store.write(rows("b"))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "answers").iterdir()] == ["part-000000.parquet"]
    store.write(rows("b"))
    assert paths(store) == ["a", "b"]
    assert json.loads((tmp_path / "job.json").read_text()) == JOB
