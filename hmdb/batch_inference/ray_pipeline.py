"""The actors on Ray Data: pools with back-pressure between them, on this machine or a cluster."""

from __future__ import annotations

import logging
import math
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Set before ray is imported, which otherwise sends usage statistics and prints internal messages.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # actors without a GPU see what the driver sees

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset

from hmdb.batch_inference.actors import VIDEOS, AnswerActor, DecodeActor, DecodeAndAnswerActor
from hmdb.batch_inference.job import Job
from hmdb.errors import DataError
from hmdb.text import first_line, one_line

MAX_BLOCK_ROWS, MIN_BLOCK_ROWS = 64, 4  # videos of a task; a task is repeated if its machine is lost
TARGET_BLOCKS = 256
MAX_BLOCK_BYTES = 16 * 2**20  # of pixels that pass between actors at a time
STDERR = 2  # file descriptor
GPU_SHARE_PRECISION = 1e-4  # of Ray's resource accounting
CONNECT_SECONDS = 5.0
MIN_FREE_BYTES = 100 * 2**20  # of disk for Ray's logs and sockets
OBJECT_STORE_BYTES = 2 * 2**30  # of shared memory on a single machine


@dataclass(frozen=True, kw_only=True)
class WorkerPlan:
    """Maximum numbers of actors; None for as many as all machines can run, including those that join later.

    Attributes:
        decoders: actors that decode for GPUs. On a CPU each answerer decodes for itself.
        answerers: actors that hold a network each.
        gpu_share: fraction of a GPU per answerer; 0.5 puts two on each GPU.
    """

    decoders: int | None = None
    answerers: int | None = None
    gpu_share: float = 1.0

    def answerers_on(self, num_gpus: int) -> int:
        """Number of answerers that fit on so many GPUs; none spans two.

        >>> WorkerPlan(gpu_share=0.4).answerers_on(5), WorkerPlan(gpu_share=1 / 3).answerers_on(2)
        (10, 6)
        """
        return num_gpus * math.floor(1 / self.gpu_share + GPU_SHARE_PRECISION)


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connects to a Ray cluster, or starts Ray on this machine, for the context; a running Ray of the caller is used.

    Raises:
        DataError: the cluster is unreachable, or Ray cannot start.
    """
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = (
        {"address": address} if address else {"address": "local", "object_store_memory": OBJECT_STORE_BYTES}
    )
    try:
        if address:
            _check_reachable(address)
        else:
            _check_disk_space()
        with _filtered_stderr():
            ray.init(**options, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        where = f"The Ray cluster at {one_line(address)}" if address else "Ray"
        raise DataError(f"{where} cannot be used: {one_line(first_line(error))}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _filtered_stderr() -> Iterator[None]:
    """Drops the line that Ray's core writes, bypassing Python, about its log level; others follow later."""
    sys.stderr.flush()
    original = os.dup(STDERR)
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(original, STDERR)
            os.close(original)
            captured.seek(0)
            os.write(STDERR, b"".join(line for line in captured if b"RAY_BACKEND_LOG_LEVEL" not in line))


def _check_reachable(address: str) -> None:
    """Fails fast where Ray itself tries for a minute.

    Raises:
        OSError: HOST:PORT is unreachable.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()


def _check_disk_space() -> None:
    """Fails fast where Ray itself waits for files that it cannot write.

    Raises:
        OSError: the disk of its folder for logs and sockets is full.
    """
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        left, needed = f"{free / 2**20:.0f} MB", f"{MIN_FREE_BYTES / 2**20:.0f} MB"
        raise OSError(f"{folder} has {left} of disk space left and needs {needed}; RAY_TMPDIR names another folder.")


def has_gpus() -> bool:
    return _resources().get("GPU", 0) > 0


def _resources() -> dict[str, float]:
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def run_pipeline(videos: Mapping[str, str], job: Job, workers: WorkerPlan) -> Iterator[pa.Table]:
    """Yields the rows of the videos in any order; rows may be missing or repeated if machines are lost.

    Args:
        videos: location of each video by its key.

    Yields:
        Tables with the columns of `answer_schema`.

    Raises:
        RayError: Ray has failed.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = MAX_BLOCK_BYTES
    _silence_ray()
    resources = _resources()
    cores = max(int(resources.get("CPU", 1)), 1)
    blocks = _split(videos, cores)
    with DataContext.current(context):
        rows: Dataset = ray.data.from_arrow(blocks)
        if job.device.startswith("cuda"):
            rows = _map(rows, DecodeActor, job, _actor_pool(workers.decoders, cores, len(blocks)))
            num_answerers = workers.answerers_on(int(resources.get("GPU", 0)))
            pool = _actor_pool(workers.answerers, num_answerers, len(blocks))
            rows = _map(rows, AnswerActor, job, pool, gpu_share=workers.gpu_share)
        else:
            rows = _map(rows, DecodeAndAnswerActor, job, _actor_pool(workers.answerers, cores, len(blocks)))
        yield from rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def _map(rows: Dataset, actor: type, job: Job, pool: ActorPoolStrategy, gpu_share: float = 0.0) -> Dataset:
    """Maps rows through actors that reserve a core each or, if given, a share of a GPU."""
    return rows.map_batches(
        actor,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="pyarrow",
        compute=pool,
        num_cpus=0.0 if gpu_share else 1.0,
        num_gpus=gpu_share,
    )


def _split(videos: Mapping[str, str], cores: int) -> list[pa.Table]:
    """Splits the videos into blocks, small ones for few videos, so that every core has work and rows come soon."""
    size = max(len(videos) // TARGET_BLOCKS, MIN_BLOCK_ROWS)
    size = max(min(size, MAX_BLOCK_ROWS, len(videos) // (4 * cores)), 1)
    paths, locations = list(videos), list(videos.values())
    return [
        pa.table({"path": paths[start : start + size], "location": locations[start : start + size]}, schema=VIDEOS)
        for start in range(0, len(paths), size)
    ]


def _actor_pool(limit: int | None, initial: int, num_blocks: int) -> ActorPoolStrategy:
    """A pool that starts with the actors that fit now and grows, as machines join, up to one per block."""
    limit = min(limit or num_blocks, num_blocks)
    return ActorPoolStrategy(min_size=1, max_size=limit, initial_size=max(min(initial, limit), 1))


def _silence_ray() -> None:
    """Keeps Ray's log, which is in files as well, off the terminal."""
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
