"""Runs a batch job: videos without a row go through the Ray pipeline and into parts, until none is missing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from ray.exceptions import RayError

from hmdb.batch_inference.download import FetchLimits
from hmdb.batch_inference.existing_rows import read_existing_rows
from hmdb.batch_inference.job import Job, fingerprint, resolve_dtype
from hmdb.batch_inference.parquet_store import ParquetStore
from hmdb.batch_inference.part_writer import PartWriter
from hmdb.batch_inference.ray_pipeline import WorkerPlan, cluster, has_gpus, run_pipeline
from hmdb.batch_inference.signal_guard import Interrupt, SignalGuard
from hmdb.batch_inference.sources import find_sources
from hmdb.batch_inference.urls import redacted_key
from hmdb.errors import DataError, StoppedError
from hmdb.model.loading import load
from hmdb.text import one_line
from hmdb.video.limits import Limits

PART_ROWS = 1000
BATCH_SIZE = {"cpu": 4, "cuda": 32}  # clips per forward pass
OWN_ERROR_PREFIX = "hmdb.errors."  # begins a traceback's last line if the error is one of ours
MAX_ROUNDS = 3  # through the pipeline, for rows that were lost with a machine


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a job.

    Attributes:
        total: videos that the sources name.
        done: of these, with a row in the folder or waiting to be written.
        failed: of these, with an error in place of an answer.
        before: that had a row when this run began.
    """

    total: int
    done: int
    failed: int
    before: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The contents of the output folder at the end of a job.

    Attributes:
        labels: number of videos per predicted label; "label?" counts those that may show none of the labels.
        errors: number of videos per class of error.
        answered: rows that this run wrote.
        seconds: that this run took, start-up excluded.
        others: rows of videos that the sources no longer name; labels and errors include them.
    """

    labels: Counter[str]
    errors: Counter[str]
    answered: int
    seconds: float
    others: int

    @property
    def rate(self) -> float:
        """Videos per second."""
        return self.answered / self.seconds if self.seconds else 0.0


class TerminatedError(StoppedError):
    """A signal ended the job. All rows finished until then are written.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int, progress: Progress) -> None:
        left = progress.total - progress.done
        super().__init__(
            f"Stopped: {progress.done} of {progress.total} videos are done. The same command does the other {left}."
        )
        self.signal = number


def batch(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    model: str | Path | None = None,
    revision: str | None = None,
    device: str | None = None,
    dtype: str = "auto",
    sampler: str | None = None,
    top_k: int = 5,
    column: str = "path",
    embeddings: bool = False,
    timeline: bool = False,
    retry_failed: bool = False,
    retry_changed: bool = False,
    address: str | None = None,
    workers: WorkerPlan | None = None,
    batch_size: int | None = None,
    part_rows: int = PART_ROWS,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_message: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Classifies many videos into a folder of Parquet files, each exactly once; a further call does the missing ones.

    >>> from tempfile import TemporaryDirectory
    >>> from hmdb import batch
    >>> with TemporaryDirectory() as folder:
    ...     summary = batch(["examples/wave.mp4"], folder, dtype="float32")
    >>> summary.labels, summary.errors
    (Counter({'wave': 1}), Counter())

    Args:
        sources: files, folders, globs, tables and URLs of these, as for `find_sources`.
        output: a folder, or a URL that fsspec can write.
        model, revision, device, dtype: as for `Recognizer.from_pretrained`.
        sampler, top_k: as for `Recognizer.__call__`.
        column: of the tables among the sources, with a path or URL per row.
        embeddings: adds a column with the pooled features that the classifier sees.
        timeline: writes a second table, `segments`, with the actions over time.
        retry_failed: does videos again that failed in an earlier run.
        retry_changed: does local files again whose size or modification time has changed since an earlier run;
            without it, on_message gets their number.
        address: of a Ray cluster; "auto" for the one that this machine belongs to, None for this machine alone.
        workers: number of worker processes.
        batch_size: clips per forward pass.
        part_rows: rows per Parquet file.
        on_progress: called at the start and after every few rows.
        on_message: called with what a user should know, a line each.

    Returns:
        A summary of the folder's contents.

    Raises:
        DataError: a source, the folder or the cluster cannot be used.
        ModelError: the model cannot be loaded.
        TerminatedError: SIGTERM or Ctrl-C; all rows finished until then are written.
    """
    videos = {redacted_key(video): video for video in find_sources(list(map(str, sources)), column, on_message)}
    with closing(ParquetStore(str(output))) as store, SignalGuard() as signals, cluster(address):
        job = _prepare_job(
            store, model, revision, device, dtype, sampler, top_k, embeddings, timeline, batch_size, on_message
        )
        if workers and workers.decoders and not job.device.startswith("cuda"):
            on_message("Note: without a GPU each answerer decodes for itself, so the number of decoders has no effect.")
        existing = read_existing_rows(store, videos, on_message, retry_failed=retry_failed, retry_changed=retry_changed)
        start = Progress(total=len(videos), done=len(existing.done), failed=existing.failed, before=len(existing.done))
        on_progress(start)
        start_time = time.monotonic()
        writer = PartWriter(store, part_rows)
        end = _process_missing(writer, videos, existing.done, start, job, workers or WorkerPlan(), signals, on_progress)
        labels, errors = store.counts()
        return Summary(
            labels=labels,
            errors=errors,
            answered=end.done - start.done,
            seconds=time.monotonic() - start_time,
            others=existing.others,
        )


def _prepare_job(
    store: ParquetStore,
    model: str | Path | None,
    revision: str | None,
    device: str | None,
    dtype: str,
    sampler: str | None,
    top_k: int,
    embeddings: bool,
    timeline: bool,
    batch_size: int | None,
    on_message: Callable[[str], None],
) -> Job:
    """Loads the model and makes the folder that of the job.

    Raises:
        ModelError: the model cannot be loaded.
        DataError: the folder is that of another job.
    """
    loaded = load(model, revision, "cpu")
    name = loaded.checkpoint.name
    on_message(f"Model: {name} @ {loaded.checkpoint.revision}" if loaded.checkpoint.revision else f"Model: {name}")
    for note in loaded.notes:
        on_message(f"Note: {note}")
    device = device or ("cuda" if has_gpus() else "cpu")
    previous_dtype = (store.manifest() or {}).get("dtype")
    job = Job(
        checkpoint=loaded.checkpoint,
        clip_spec=loaded.clip_spec.with_sampler(sampler),
        pixel_spec=loaded.pixel_spec,
        device=device,
        dtype=resolve_dtype(loaded, dtype, device, previous_dtype),
        top_k=min(top_k, len(loaded.labels)),
        embeddings=loaded.network.config.hidden_size if embeddings else 0,
        timeline=timeline,
        limits=Limits.from_environment(),
        fetch_limits=FetchLimits.from_environment(),
        batch_size=batch_size or BATCH_SIZE.get(device.partition(":")[0], 4),
    )
    store.start(fingerprint(loaded, job))
    return job


def _process_missing(
    writer: PartWriter,
    videos: Mapping[str, str],
    done: set[str],
    progress: Progress,
    job: Job,
    workers: WorkerPlan,
    signals: SignalGuard,
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Classifies the videos that are not in `done`, and adds them to it.

    Raises:
        TerminatedError: a signal came.
        DataError: Ray failed, rows are missing after the last round, or a part cannot be written.
    """
    for _ in range(MAX_ROUNDS):
        missing = {path: location for path, location in videos.items() if path not in done}
        if not missing:
            return progress
        rows = run_pipeline(missing, job, workers)
        try:
            while (table := signals.next_rows(rows)) is not None:
                new = _first_of_each(table, done)
                failures = new.num_rows - new["error_class"].null_count
                writer.add(new)
                progress = Progress(
                    total=progress.total,
                    done=progress.done + new.num_rows,
                    failed=progress.failed + failures,
                    before=progress.before,
                )
                on_progress(progress)
        except Interrupt as interrupt:
            raise TerminatedError(interrupt.number, progress) from interrupt
        except RayError as error:
            raise DataError(f"Ray has given up: {_reason(error)} The same command goes on.") from error
        finally:
            writer.flush()
    if lost := len(videos.keys() - done):
        raise DataError(f"{lost} videos came back without an answer; the same command tries them again.")
    return progress


def _reason(error: RayError) -> str:
    """The last line of a Ray error, which is the cause; a traceback comes before it."""
    line = str(error).strip().rpartition("\n")[2]
    message = line.partition(": ")[2] if line.startswith(OWN_ERROR_PREFIX) else line
    return f"{one_line(message).removesuffix('.')}."


def _first_of_each(table: pa.Table, done: set[str]) -> pa.Table:
    """Drops the rows of videos in `done` and adds the others to it: Ray repeats the work of a lost machine."""
    new = []
    for path in table["path"].to_pylist():
        new.append(path not in done)
        done.add(path)
    return table if all(new) else table.filter(pa.array(new))
