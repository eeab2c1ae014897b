"""How work and actors are divided, and a cluster that grows."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

import hmdb
from hmdb.batch_inference.engine import BLOCK_ROWS, Workers, _blocks, _pool
from tests.batch_inference.test_batch import wait_for


@pytest.mark.parametrize(
    ("share", "cards", "fitting"), [(1.0, 3, 3), (0.5, 2, 4), (0.4, 5, 10), (1 / 3, 2, 6), (0.1, 1, 10), (0.7, 4, 4)]
)
def test_no_answerer_spans_two_gpus(share: float, cards: int, fitting: int) -> None:
    assert Workers(gpu_share=share).fitting(cards) == fitting


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


@pytest.mark.slow
def test_a_machine_that_joins_takes_part(videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(400):
        (many / f"{number:03}.mp4").hardlink_to(videos / "0.mp4")
    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    seen: list[Any] = []

    def job() -> None:
        seen.append(hmdb.batch([many], tmp_path / "out", model=checkpoint, device="cpu", part_rows=20))

    try:
        ray.init(address=cluster.address, log_to_driver=False)
        working = threading.Thread(target=job)
        working.start()
        wait_for(lambda: any((tmp_path / "out" / "answers").glob("*.parquet")))
        node = cluster.add_node(num_cpus=1)
        used: list[float] = []
        while working.is_alive():
            left = ray._private.state.available_resources_per_node()  # type: ignore[no-untyped-call]
            used.append(left.get(node.node_id, {}).get("CPU", 0.0))
            working.join(0.2)
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
    assert seen[0].answered == 400
    assert min(used) == 0.0
