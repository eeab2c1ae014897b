"""How work and actors are divided, and a cluster that grows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from hmdb.batch_inference.ray_pipeline import BLOCK_ROWS, WorkerPlan, _blocks, _pool, cluster
from hmdb.errors import DataError
from tests.batch_inference.test_batch import wait_for
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("share", "cards", "fitting"), [(1.0, 3, 3), (0.5, 2, 4), (0.4, 5, 10), (1 / 3, 2, 6), (0.1, 1, 10), (0.7, 4, 4)]
)
def test_no_answerer_spans_two_gpus(share: float, cards: int, fitting: int) -> None:
    assert WorkerPlan(gpu_share=share).fitting(cards) == fitting


@pytest.mark.parametrize(("count", "cores", "blocks"), [(3, 2, 3), (12, 2, 12), (100, 2, 25), (10_000, 2, 257)])
def test_all_cores_have_some_of_few_videos(count: int, cores: int, blocks: int) -> None:
    videos = {f"{number}.mp4": f"/there/{number}.mp4" for number in range(count)}
    found = _blocks(videos, cores)
    assert len(found) == blocks
    assert {row["path"]: row["location"] for each in found for row in each.to_pylist()} == videos
    assert max(map(len, found)) <= BLOCK_ROWS


def test_a_pool_begins_with_what_fits_and_may_grow_as_far_as_there_is_work() -> None:
    pool = _pool(None, fitting=2, blocks=50)
    assert (pool.min_size, pool.initial_size, pool.max_size) == (1, 2, 50)
    asked = _pool(4, fitting=2, blocks=50)
    assert (asked.initial_size, asked.max_size) == (2, 4)
    assert _pool(None, fitting=8, blocks=3).initial_size == 3


def test_a_full_disk_is_one_line_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))
    told = f"Ray cannot be used: {tmp_path} has 3 MB left of the 100 MB that it needs; RAY_TMPDIR names another place."
    with pytest.raises(DataError, match=f"^{re.escape(told)}$"), cluster(None):
        pass


@pytest.mark.slow
def test_a_machine_that_joins_takes_part(videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    listed, out = tmp_path / "list.csv", tmp_path / "out"
    many = [tmp_path / f"{number}.mp4" for number in range(20_000)]  # more than are waited for
    for path in many:
        path.hardlink_to(videos / "0.mp4")
    listed.write_text("path\n" + "".join(f"{path}\n" for path in many))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    command = ["batch", str(listed), "--output", str(out), "--model", str(checkpoint), "--device", "cpu"]
    job = subprocess.Popen(
        [sys.executable, "-m", "hmdb", *command, "--part-rows", "20", "--address", nodes.address], cwd=ROOT
    )
    try:
        wait_for(lambda: any((out / "answers").glob("*.parquet")))
        node = nodes.add_node(num_cpus=1)
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        wait_for(lambda: any("MapBatches" in " ".join(each.cmdline()) for each in raylet.children()))
    finally:
        job.terminate()
        job.wait(240)
        nodes.shutdown()  # type: ignore[no-untyped-call]
