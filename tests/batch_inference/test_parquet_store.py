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
from hmdb.batch_inference.parquet_store import SECONDS_BETWEEN, ParquetStore
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


def paths(output: ParquetStore) -> list[str]:
    return sorted(path for (path,) in output.rows("path"))


def opened(folder: Path | str, job: dict[str, Any] = JOB) -> ParquetStore:
    output = ParquetStore(str(folder))
    output.start(job)
    return output


def test_what_was_written_is_known_to_whoever_comes_next(tmp_path: Path) -> None:
    first = opened(tmp_path / "out")
    first.write(rows("a", "b"))
    first.write(rows("c", failed=True))
    first.close()
    second = opened(tmp_path / "out")
    assert sorted(second.rows("path", "error_class")) == [("a", None), ("b", None), ("c", "VideoError")]
    second.write(rows("d"))
    assert sorted(each.name for each in (tmp_path / "out/answers").iterdir()) == [
        f"part-00000{number}.parquet" for number in range(3)
    ]
    labels, errors = second.counts()
    assert (labels, errors) == ({"wave": 3}, {"VideoError": 1})


def test_a_folder_of_another_job_is_refused_with_what_differs(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(DataError, match=r'dtype is "float32" there and "int8" here\. Name another folder\.$'):
        opened(tmp_path, JOB | {"dtype": "int8"})


def test_answers_without_a_manifest_are_nobody_s(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    parquet.write_table(rows("a"), tmp_path / "answers/part-000000.parquet")
    with pytest.raises(DataError, match=r"has answers but no job\.json"):
        opened(tmp_path)


def hold(folder: str, held: Any, done: Any) -> None:
    output = opened(folder)
    held.set()
    done.wait()
    output.close()


def test_two_jobs_on_one_folder_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path), held, done))
    other.start()
    assert held.wait(60)
    with pytest.raises(DataError, match="Another job is at work in"):
        ParquetStore(str(tmp_path))
    other.kill()  # nothing of its lock is left
    other.join()
    opened(tmp_path).close()


def test_where_nothing_locks_the_later_of_two_writers_stops(tmp_path: Path) -> None:
    name = f"memory://{tmp_path.name}"
    first, second = opened(name), opened(name)
    first.write(rows("a"))
    with pytest.raises(DataError, match="Another job writes into"):
        second.write(rows("a", "b"))
    assert paths(first) == ["a"]
    MemoryFileSystem().rm(f"/{tmp_path.name}", recursive=True)


def test_what_a_kill_left_half_done_is_cleared_away(tmp_path: Path) -> None:
    output = opened(tmp_path, TIMED)
    segments = [[{"label": "wave", "probability": 1.0, "start_frame": 0, "end_frame": 8}], None]
    output.write(rows("a", "b").append_column("segments", pa.array(segments, pa.list_(SEGMENT))))
    output.close()
    assert parquet.read_table(tmp_path / "segments")["path"].to_pylist() == ["a"]
    (tmp_path / "answers/part-000001.parquet.99.tmp").write_bytes(b"half")
    (tmp_path / "segments/part-000001.parquet").write_bytes(b"its answers were not written")
    again = opened(tmp_path, TIMED)
    assert [path.name for path in sorted(tmp_path.rglob("part-*"))] == ["part-000000.parquet"] * 2
    assert paths(again) == ["a", "b"]


def test_rows_that_are_dropped_take_their_segments_along(tmp_path: Path) -> None:
    output = opened(tmp_path, TIMED)
    output.write(with_segments("a", "b"))
    output.write(with_segments("c"))
    assert output.drop({"b", "nobody"}) == 1
    assert paths(output) == ["a", "c"]
    assert sorted(parquet.read_table(tmp_path / "segments")["path"].to_pylist()) == ["a", "c"]


def test_where_nothing_locks_segments_are_left_to_who_may_be_writing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"memory://{tmp_path.name}"
    waited: list[float] = []
    monkeypatch.setattr("hmdb.batch_inference.parquet_store.time.sleep", waited.append)
    first = opened(name, TIMED)
    first.write(with_segments("a"))
    answers = f"/{tmp_path.name}/answers/part-000000.parquet"
    kept = MemoryFileSystem().cat_file(answers)
    MemoryFileSystem().rm(answers)  # between the two files of a part
    second = opened(name, TIMED)
    MemoryFileSystem().pipe_file(answers, kept)
    with pytest.raises(DataError, match="Another job writes into"):
        second.write(with_segments("a"))
    MemoryFileSystem().rm(answers)  # this time by a kill
    third = opened(name, TIMED)
    third.write(with_segments("b"))
    assert len(waited) == 2
    assert all(0 < each <= SECONDS_BETWEEN for each in waited)
    assert paths(third) == ["b"]
    MemoryFileSystem().rm(f"/{tmp_path.name}", recursive=True)


@pytest.mark.parametrize("target", ["file", "file/below", "x" * 300])
def test_a_folder_that_cannot_be_is_one_line(target: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written or read: .*\.$"):
        opened(tmp_path / target)


def test_a_full_disk_is_one_line_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = opened(tmp_path)
    output.write(rows("a"))
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")

    def into_full(table: pa.Table, file: Any, **_: Any) -> None:
        with full.open("wb", buffering=0) as device:
            device.write(b"x")

    monkeypatch.setattr(parquet, "write_table", into_full)
    with pytest.raises(DataError, match=r"No space left on device"):
        output.write(rows("b"))
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "answers").iterdir()] == ["part-000000.parquet"]
    output.write(rows("b"))
    assert paths(output) == ["a", "b"]
    assert json.loads((tmp_path / "job.json").read_text()) == JOB
