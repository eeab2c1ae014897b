from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from hmdb.batch_inference.sources import fetched, find_sources
from hmdb.errors import DataError


def names(videos: list[str]) -> list[str]:
    return [video.rpartition("/")[2] for video in videos]


def test_files_folders_and_globs_each_video_once(videos: Path) -> None:
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


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("gone", "there is no such file or folder"),
        ("gone/*.mp4", "holds no videos"),
        ("empty", "holds no videos"),
        ("gone.csv", "cannot be read"),
        ("http://127.0.0.1:9/list.csv", "cannot be read"),
        ("http://127.0.0.1:9/folder/", "cannot be read"),
        ("nosuch://bucket/folder", "cannot be read"),
    ],
)
def test_a_source_that_cannot_be_used_is_one_line(
    source: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=told) as caught:
        find_sources([source], "path")
    assert str(caught.value).startswith(source)
    assert "\n" not in str(caught.value)


@pytest.fixture
def site(videos: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(videos)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_is_behind_a_url_is_there_only_while_it_is_needed(site: str, videos: Path) -> None:
    pytest.importorskip("aiohttp")
    (listed,) = [url for url in find_sources([f"{site}/"], "path") if url.endswith("/1.mp4")]
    with fetched(listed) as file:
        assert file.name == "1.mp4"
        assert file.read_bytes() == (videos / "1.mp4").read_bytes()
    assert not file.exists()
    with pytest.raises(DataError, match="cannot be fetched: there is no such thing"), fetched(f"{site}/gone.mp4"):
        pass
