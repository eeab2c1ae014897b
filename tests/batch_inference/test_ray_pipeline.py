"""The division of work among actors, and machines that join and leave a cluster."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray
from pyarrow import parquet
from ray.cluster_utils import Cluster

from hmdb.batch_inference.ray_pipeline import MAX_BLOCK_ROWS, WorkerPlan, _actor_pool, _split, cluster
from hmdb.errors import DataError
from tests.support.http_server import QuietHandler, serve_folder
from tests.support.paths import ROOT
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("share", "num_gpus", "answerers"),
    [(1.0, 3, 3), (0.5, 2, 4), (0.4, 5, 10), (1 / 3, 2, 6), (0.1, 1, 10), (0.7, 4, 4)],
)
def test_no_answerer_spans_two_gpus(share: float, num_gpus: int, answerers: int) -> None:
    assert WorkerPlan(gpu_share=share).answerers_on(num_gpus) == answerers


@pytest.mark.parametrize(("count", "cores", "blocks"), [(3, 2, 3), (12, 2, 12), (100, 2, 25), (10_000, 2, 257)])
def test_few_videos_are_split_among_all_cores(count: int, cores: int, blocks: int) -> None:
    videos = {f"{number}.mp4": f"/there/{number}.mp4" for number in range(count)}
    tables = _split(videos, cores)
    assert len(tables) == blocks
    assert {row["path"]: row["location"] for table in tables for row in table.to_pylist()} == videos
    assert max(map(len, tables)) <= MAX_BLOCK_ROWS


def test_an_actor_pool_starts_with_what_fits_and_grows_to_one_per_block() -> None:
    pool = _actor_pool(None, initial=2, num_blocks=50)
    assert (pool.min_size, pool.initial_size, pool.max_size) == (1, 2, 50)
    limited = _actor_pool(4, initial=2, num_blocks=50)
    assert (limited.initial_size, limited.max_size) == (2, 4)
    assert _actor_pool(None, initial=8, num_blocks=3).initial_size == 3


def test_a_full_disk_is_one_line_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))
    message = (
        f"Ray cannot be used: {tmp_path} has 3 MB of disk space left and needs 100 MB; RAY_TMPDIR names another folder."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"), cluster(None):
        pass


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A Ray cluster with a head node of one core."""
    handler = signal.getsignal(signal.SIGTERM)
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield nodes
    finally:
        nodes.shutdown()  # type: ignore[no-untyped-call]
        signal.signal(signal.SIGTERM, handler)  # Ray has installed its own


@pytest.mark.slow
def test_a_machine_that_joins_gets_work(nodes: Cluster, videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    listed, out = tmp_path / "list.csv", tmp_path / "out"
    many = [tmp_path / f"{number}.mp4" for number in range(20_000)]  # more than are classified before the test ends
    for path in many:
        path.hardlink_to(videos / "0.mp4")
    listed.write_text("path\n" + "".join(f"{path}\n" for path in many))
    command = ["batch", str(listed), "--output", str(out), "--model", str(checkpoint), "--device", "cpu"]
    job = subprocess.Popen(
        [sys.executable, "-m", "hmdb", *command, "--part-rows", "20", "--address", nodes.address], cwd=ROOT
    )
    try:
        wait_until(lambda: any((out / "answers").glob("*.parquet")), seconds=240)
        node = nodes.add_node(num_cpus=1)
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        wait_until(
            lambda: any("MapBatches" in " ".join(process.cmdline()) for process in raylet.children()), seconds=240
        )
    finally:
        job.terminate()
        job.wait(240)


@pytest.mark.slow
@pytest.mark.timeout(600)  # the limits below add up to more than the usual one
def test_a_killed_machine_loses_and_doubles_no_row(
    nodes: Cluster, videos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """The machine is killed while it and the other one each wait for a download, so in the middle of a block."""
    pytest.importorskip("aiohttp")
    requests: Counter[str] = Counter()
    killed = threading.Event()

    class HoldingHandler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 - by http.server
            requests[self.path] += 1
            killed.wait()
            super().do_GET()

    node = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    site, out, listed = tmp_path / "site", tmp_path / "out", tmp_path / "list.csv"
    site.mkdir()
    with serve_folder(site, HoldingHandler) as url:
        locations = []
        for number in range(32):
            held = number >= 16 and number % 4 == 0  # one in each of the last four blocks, which have four videos
            path = (site if held else tmp_path) / f"{number:02}.mp4"
            path.hardlink_to(videos / "0.mp4")
            locations.append(f"{url}/{path.name}" if held else str(path))
        listed.write_text("path\n" + "".join(f"{location}\n" for location in locations))
        command = ["batch", str(listed), "--output", str(out), "--model", str(checkpoint), "--device", "cpu"]
        job = subprocess.Popen([sys.executable, "-m", "hmdb", *command, "--address", nodes.address], cwd=ROOT)
        try:
            wait_until(lambda: len(requests) >= 2, seconds=240)
            nodes.remove_node(node, allow_graceful=False)
            killed.set()
            assert job.wait(240) == 0
        finally:
            killed.set()
            job.kill()
            job.wait()
    assert max(requests.values()) > 1  # the block of the killed machine was done again
    rows = parquet.read_table(out / "answers")
    assert sorted(rows["path"].to_pylist()) == sorted(locations)
    assert rows["error"].null_count == len(locations)
