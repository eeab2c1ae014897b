"""The stages on Ray Data: pools of actors with back-pressure between them, on this machine or a cluster."""

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

# Before ray is imported: it reports to its makers unless told otherwise, and prints what is not for users.
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

BLOCK_ROWS = 64  # videos of one task, at most: what is done again where a machine is lost in the middle
BLOCK_BYTES = 16 * 2**20  # of pixels, that pass from one stage to the other at a time
STDERR = 2  # its number
ROUNDING = 1e-4  # of shares of a GPU, in Ray's books
REACHABLE_SECONDS = 5.0  # until a cluster counts as gone
ROOM_BYTES = 100 * 2**20  # of disk for Ray's logs and sockets
STORE_BYTES = 2 * 2**30  # of Ray's shared memory on a single machine
ENOUGH_BLOCKS, FEW_ROWS = 256, 4  # into which many videos are divided; videos that are worth a task


@dataclass(frozen=True, kw_only=True)
class WorkerPlan:
    """How many actors there are, at most; None for as many as the machines have room for, also those that come later.

    Attributes:
        decoders: that decode for GPUs. On a CPU each answerer decodes for itself.
        answerers: with a network each.
        gpu_share: of a GPU, for each answerer; 0.5 puts two on each card.
    """

    decoders: int | None = None
    answerers: int | None = None
    gpu_share: float = 1.0

    def fitting(self, cards: int) -> int:
        """How many answerers fit a number of cards, none of them on two cards.

        >>> WorkerPlan(gpu_share=0.4).fitting(5), WorkerPlan(gpu_share=1 / 3).fitting(2)
        (10, 6)
        """
        return cards * math.floor(1 / self.gpu_share + ROUNDING)


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Ray, for as long as the context lasts: a cluster, this machine alone, or what the caller has started.

    Raises:
        DataError: the cluster does not answer.
    """
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = (
        {"address": address} if address else {"address": "local", "object_store_memory": STORE_BYTES}
    )
    try:
        if address:
            _check_reachable(address)
        else:
            _check_room()
        with _without_log_level():
            ray.init(**options, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        where = f"The Ray cluster at {one_line(address)}" if address else "Ray"
        raise DataError(f"{where} cannot be used: {one_line(first_line(error))}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _without_log_level() -> Iterator[None]:
    """Ray's core tells each time, past Python, that it was asked to be quiet. Else it may speak, a little later."""
    sys.stderr.flush()
    kept = os.dup(STDERR)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
            said.seek(0)
            os.write(STDERR, b"".join(line for line in said if b"RAY_BACKEND_LOG_LEVEL" not in line))


def _check_reachable(address: str) -> None:
    """Ray itself tries for a minute.

    Raises:
        OSError: nobody answers at HOST:PORT.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), REACHABLE_SECONDS).close()


def _check_room() -> None:
    """Ray itself waits for files that cannot be written.

    Raises:
        OSError: its folder for logs and sockets is on a full disk.
    """
    folder = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < ROOM_BYTES:
        left, needed = f"{free / 2**20:.0f} MB", f"{ROOM_BYTES / 2**20:.0f} MB"
        raise OSError(f"{folder} has {left} left of the {needed} that it needs; RAY_TMPDIR names another place.")


def has_gpus() -> bool:
    return _resources().get("GPU", 0) > 0


def _resources() -> dict[str, float]:
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def run_pipeline(videos: Mapping[str, str], job: Job, workers: WorkerPlan) -> Iterator[pa.Table]:
    """The rows of the videos, as they come; in any order, and perhaps not all where machines are lost.

    Args:
        videos: where each is, by its key.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES
    _quiet()
    resources = _resources()
    cores = max(int(resources.get("CPU", 1)), 1)
    blocks = _blocks(videos, cores)
    with DataContext.current(context):
        rows: Dataset = ray.data.from_arrow(blocks)
        if job.device.startswith("cuda"):
            fitting = workers.fitting(int(resources.get("GPU", 0)))
            rows = _mapped(rows, DecodeActor, job, _pool(workers.decoders, cores, len(blocks)))
            pool = _pool(workers.answerers, fitting, len(blocks))
            rows = _mapped(rows, AnswerActor, job, pool, gpu_share=workers.gpu_share)
        else:
            rows = _mapped(rows, DecodeAndAnswerActor, job, _pool(workers.answerers, cores, len(blocks)))
        yield from rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def _mapped(rows: Dataset, stage: type, job: Job, pool: ActorPoolStrategy, gpu_share: float = 0.0) -> Dataset:
    """Through actors that have a core each or, if any, a share of a GPU."""
    return rows.map_batches(
        stage,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="pyarrow",
        compute=pool,
        num_cpus=0.0 if gpu_share else 1.0,
        num_gpus=gpu_share,
    )


def _blocks(videos: Mapping[str, str], cores: int) -> list[pa.Table]:
    """Small ones where there are few videos, so that all cores have some and rows come soon."""
    size = max(len(videos) // ENOUGH_BLOCKS, FEW_ROWS)
    size = max(min(size, BLOCK_ROWS, len(videos) // (4 * cores)), 1)
    paths, locations = list(videos), list(videos.values())
    return [
        pa.table({"path": paths[start : start + size], "location": locations[start : start + size]}, schema=VIDEOS)
        for start in range(0, len(paths), size)
    ]


def _pool(most: int | None, fitting: int, blocks: int) -> ActorPoolStrategy:
    """As many actors as fit now, and as many as there is work for where machines come later."""
    most = min(most or blocks, blocks)
    return ActorPoolStrategy(min_size=1, max_size=most, initial_size=max(min(fitting, most), 1))


def _quiet() -> None:
    """Ray's log goes to its own files; what a user needs is said here."""
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
