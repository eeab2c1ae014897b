"""The division of work among actors, and machines that join and leave a cluster."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from hmdb.batch_inference.ray_pipeline import MAX_BLOCK_ROWS, WorkerPlan, _actor_pool, _split, cluster
from hmdb.errors import DataError
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
        wait_until(lambda: any((out / "answers").glob("*.parquet")))
        node = nodes.add_node(num_cpus=1)
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        wait_until(lambda: any("MapBatches" in " ".join(process.cmdline()) for process in raylet.children()))
    finally:
        job.terminate()
        job.wait(240)
