"""The two stages on Ray Data: pools of actors with back-pressure between them, on this machine or a cluster."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Before ray is imported: it reports to its makers unless told otherwise, and prints what is not for users.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # actors without a GPU see what the driver sees

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from hmdb.batch_inference.job import Job
from hmdb.batch_inference.stages import PATHS, Answer, Decode
from hmdb.errors import DataError
from hmdb.text import first_line, one_line

BLOCK_ROWS = 64  # videos of one decoding task: what is decoded again where a machine is lost in the middle
BLOCK_BYTES = 16 * 2**20  # of pixels, that pass from one stage to the other at a time
STORE_BYTES = 2 * 2**30  # of Ray's shared memory on a single machine
DECODER_CPUS, ANSWERER_CPUS = 0.25, 0.5  # of a core, in Ray's books, where both share the cores


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many actors there are, at most.

    Attributes:
        decoders: one process each; None for one on each core.
        answerers: with a network each; None for one on each core, or as many as fit the GPUs.
        gpu_share: of a GPU, for each answerer; 0.5 puts two on each card.
    """

    decoders: int | None = None
    answerers: int | None = None
    gpu_share: float = 1.0


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
        ray.init(**options, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = f"The Ray cluster at {one_line(address)}" if address else "Ray"
        raise DataError(f"{where} cannot be used: {one_line(first_line(error))}") from error
    try:
        yield
    finally:
        ray.shutdown()


def has_gpus() -> bool:
    return _resources().get("GPU", 0) > 0


def _resources() -> dict[str, float]:
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def answered(paths: Sequence[str], job: Job, workers: Workers) -> Iterator[pa.Table]:
    """The rows of the videos, as they come; in any order, and perhaps not all where machines are lost."""
    resources = _resources()
    cores = max(int(resources.get("CPU", 1)), 1)
    blocks = _blocks(paths, cores)
    if job.device.startswith("cuda"):
        cards = resources.get("GPU", 0)
        fitting, share, decoder_cpus, answerer_cpus = math.floor(cards / workers.gpu_share), workers.gpu_share, 1.0, 0.0
    else:
        fitting, share, decoder_cpus, answerer_cpus = cores, 0.0, DECODER_CPUS, ANSWERER_CPUS
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES
    _quiet()
    with DataContext.current(context):
        videos = ray.data.from_arrow(blocks)
        decoded = videos.map_batches(
            Decode,
            fn_constructor_args=(job,),
            batch_size=None,
            batch_format="pyarrow",
            compute=_pool(workers.decoders or cores, len(blocks)),
            num_cpus=decoder_cpus,
        )
        answers = decoded.map_batches(
            Answer,
            fn_constructor_args=(job,),
            batch_size=None,
            batch_format="pyarrow",
            compute=_pool(workers.answerers or max(fitting, 1), len(blocks)),
            num_cpus=answerer_cpus,
            num_gpus=share,
        )
        yield from answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


def _blocks(paths: Sequence[str], cores: int) -> list[pa.Table]:
    """Small ones where there are few videos, so that all cores have some."""
    size = min(max(len(paths) // (4 * cores), 1), BLOCK_ROWS)
    return [pa.table({"path": paths[start : start + size]}, schema=PATHS) for start in range(0, len(paths), size)]


def _pool(most: int, blocks: int) -> ActorPoolStrategy:
    most = min(most, blocks)
    return ActorPoolStrategy(min_size=1, max_size=most, initial_size=most)


def _quiet() -> None:
    """Ray's log goes to its own files; what a user needs is said here."""
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
