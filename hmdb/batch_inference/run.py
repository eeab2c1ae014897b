"""A job from end to end: what is missing goes through the engine and into parts, until nothing is missing."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pyarrow as pa
from ray.exceptions import RayError

from hmdb.batch_inference.download import FetchLimits, file_version
from hmdb.batch_inference.job import Job, fingerprint, precision
from hmdb.batch_inference.parquet_store import ParquetStore
from hmdb.batch_inference.ray_pipeline import WorkerPlan, cluster, has_gpus, run_pipeline
from hmdb.batch_inference.sources import find_sources
from hmdb.batch_inference.urls import is_url, redacted_key
from hmdb.errors import DataError, StoppedError
from hmdb.model.loading import load
from hmdb.text import one_line
from hmdb.video.limits import Limits

PART_ROWS = 1000
PART_SECONDS = 300.0  # after which a part is written though it is short: the most work that a kill can cost
BATCH_SIZE = {"cpu": 4, "cuda": 32}  # clips that are answered together
STAT_THREADS = 16  # threads that look whether files have changed
RUN_COLUMNS = "hmdb.errors."  # begins a line of a traceback that tells of one of our errors
ROUNDS = 3  # through the engine, for rows that went missing with a machine


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is.

    Attributes:
        total: videos that the sources name.
        done: of these, with a row in the folder or in the part in hand.
        failed: of these, that could not be answered.
        before: that had a row when this run began.
    """

    total: int
    done: int
    failed: int
    before: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a folder holds once a job has ended.

    Attributes:
        labels: how often each label is the answer; with a question mark where it may be none of the labels.
        errors: how often each class of error occurs.
        answered: rows that this run wrote.
        seconds: that this run took, without its start.
        others: rows of videos that the sources do not name any more; they count among the labels and errors.
    """

    labels: Counter[str]
    errors: Counter[str]
    answered: int
    seconds: float
    others: int

    @property
    def rate(self) -> float:
        """Videos a second."""
        return self.answered / self.seconds if self.seconds else 0.0


class TerminatedError(StoppedError):
    """A signal ended the job. What was answered until then is written.

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
    report: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Answers many videos into a folder of Parquet, each exactly once; called again, only those that are missing.

    >>> from tempfile import TemporaryDirectory
    >>> from hmdb import batch
    >>> with TemporaryDirectory() as folder:
    ...     summary = batch(["examples/wave.mp4"], folder, dtype="float32")
    >>> summary.labels, summary.errors
    (Counter({'wave': 1}), Counter())

    Args:
        sources: as for `hmdb.batch_inference.sources.find_sources`.
        output: a folder, or a URL that fsspec writes.
        model, revision, device, dtype: as for `Recognizer.from_pretrained`.
        sampler, top_k: as for an answer.
        column: of the tables among the sources.
        embeddings: whether each row has the pooled features, as the classifier sees them.
        timeline: whether what happens when goes into a second table, `segments`.
        retry_failed: whether videos that failed in an earlier run are done again.
        retry_changed: whether files are done again that are not what they were in an earlier run, by size and time
            of last change; without it, how many there are is said. URLs are not asked for that.
        address: of a Ray cluster; "auto" for the one that this machine belongs to, None for this machine alone.
        workers: how many processes decode and answer.
        batch_size: clips that are answered together.
        part_rows: rows of a file.
        report: called with the progress after each few rows.
        say: called with what a user should know, a line each.

    Returns:
        What the folder holds then.

    Raises:
        DataError: a source, the folder or the cluster cannot be used.
        ModelError: the model cannot be loaded.
        TerminatedError: SIGTERM or Ctrl-C; what was answered is written.
    """
    videos = {redacted_key(video): video for video in find_sources([str(source) for source in sources], column)}
    with closing(ParquetStore(str(output))) as folder, _SignalGuard() as signals, cluster(address):
        job = _job(folder, model, revision, device, dtype, sampler, top_k, embeddings, timeline, batch_size, say)
        if workers and workers.decoders and not job.device.startswith("cuda"):
            say("Note: on a CPU each answerer decodes for itself; how many decoders there are is for GPUs.")
        standing = _read_existing(folder, videos, say, retry_failed=retry_failed, retry_changed=retry_changed)
        done = standing.done
        begun = Progress(total=len(videos), done=len(done), failed=standing.failed, before=len(done))
        report(begun)
        began = time.monotonic()
        parts = _PartWriter(folder, part_rows)
        progress = _fill(parts, videos, done, begun, job, workers or WorkerPlan(), signals, report)
        labels, errors = folder.counts()
        return Summary(
            labels=labels,
            errors=errors,
            answered=progress.done - begun.done,
            seconds=time.monotonic() - began,
            others=standing.others,
        )


@dataclass(frozen=True, kw_only=True)
class _ExistingRows:
    """What a folder holds of a job that goes on.

    Attributes:
        done: videos of the sources that have a row.
        failed: how many of these failed.
        others: rows of further videos.
    """

    done: set[str]
    failed: int
    others: int


def _read_existing(
    folder: ParquetStore,
    videos: Mapping[str, str],
    say: Callable[[str], None],
    *,
    retry_failed: bool,
    retry_changed: bool,
) -> _ExistingRows:
    """What need not be done again. What is to be done again loses its row."""
    failed, stamps, others = set(), {}, 0
    for path, stamp, error in folder.rows("path", "stamp", "error_class"):
        if path not in videos:
            others += 1
            continue
        stamps[path] = stamp
        if error is not None:
            failed.add(path)
    changed = _changed(stamps)
    if stamps or others:
        gone = f" {others} further rows are of videos that the sources do not name." if others else ""
        say(f"{len(stamps)} of {len(videos)} videos were done before.{gone}")
    if changed and not retry_changed:
        say(f"{len(changed)} of these have changed since; --retry-changed does them again.")
    again = (failed if retry_failed else set()) | (changed if retry_changed else set())
    if again:
        folder.drop(again)
        say(f"{len(again)} that failed or changed are done again.")
    return _ExistingRows(done=stamps.keys() - again, failed=len(failed - again), others=others)


def _changed(stamps: Mapping[str, str | None]) -> set[str]:
    """Videos on this machine whose file or folder is not what it was. What is behind a URL is not asked for again."""
    local = {path: stamp for path, stamp in stamps.items() if not is_url(path)}
    with ThreadPoolExecutor(STAT_THREADS) as threads:  # a file system of a network takes its time for each
        now = threads.map(file_version, map(Path, local))
        return {path for (path, stamp), new in zip(local.items(), now, strict=True) if new not in (stamp, None)}


def _job(
    folder: ParquetStore,
    model: str | Path | None,
    revision: str | None,
    device: str | None,
    dtype: str,
    sampler: str | None,
    top_k: int,
    embeddings: bool,
    timeline: bool,
    batch_size: int | None,
    say: Callable[[str], None],
) -> Job:
    """What is to be done, once the model and the folder agree."""
    loaded = load(model, revision, "cpu")
    name = loaded.checkpoint.name
    say(f"Model: {name} @ {loaded.checkpoint.revision}" if loaded.checkpoint.revision else f"Model: {name}")
    for note in loaded.notes:
        say(f"Note: {note}")
    device = device or ("cuda" if has_gpus() else "cpu")
    decided = (folder.manifest() or {}).get("dtype")
    job = Job(
        checkpoint=loaded.checkpoint,
        clip_spec=loaded.clip_spec.with_sampler(sampler),
        pixel_spec=loaded.pixel_spec,
        device=device,
        dtype=precision(loaded, dtype, device, decided),
        top_k=min(top_k, len(loaded.labels)),
        embeddings=loaded.network.config.hidden_size if embeddings else 0,
        timeline=timeline,
        limits=Limits.from_environment(),
        fetching=FetchLimits.from_environment(),
        batch_size=batch_size or BATCH_SIZE.get(device.partition(":")[0], 4),
    )
    folder.start(fingerprint(loaded, job))
    return job


def _fill(
    parts: _PartWriter,
    videos: Mapping[str, str],
    done: set[str],
    progress: Progress,
    job: Job,
    workers: WorkerPlan,
    signals: _SignalGuard,
    report: Callable[[Progress], None],
) -> Progress:
    """Answers what is missing. `done` grows by it."""
    for _ in range(ROUNDS):
        missing = {path: location for path, location in videos.items() if path not in done}
        if not missing:
            return progress
        rows = run_pipeline(missing, job, workers)
        try:
            while (table := signals.interrupting(rows)) is not None:
                new = _first_of_each(table, done)
                failures = new.num_rows - new["error_class"].null_count
                parts.add(new)
                progress = Progress(
                    total=progress.total,
                    done=progress.done + new.num_rows,
                    failed=progress.failed + failures,
                    before=progress.before,
                )
                report(progress)
        except _Interrupt as signalled:
            raise TerminatedError(signalled.number, progress) from signalled
        except RayError as error:
            raise DataError(f"Ray has given up: {_changed_setting(error)} The same command goes on.") from error
        finally:
            parts.flush()
    if lost := len(videos.keys() - done):
        raise DataError(f"{lost} videos came back without an answer; the same command tries them again.")
    return progress


def _changed_setting(error: RayError) -> str:
    """What went wrong, in a sentence: the last line of what Ray tells, as a traceback comes before it."""
    last = str(error).strip().rpartition("\n")[2]
    told = last.partition(": ")[2] if last.startswith(RUN_COLUMNS) else last
    return f"{one_line(told).removesuffix('.')}."


def _first_of_each(table: pa.Table, done: set[str]) -> pa.Table:
    """The rows of videos that had none; a machine that is lost may have its work done twice."""
    new = []
    for path in table["path"].to_pylist():
        new.append(path not in done)
        done.add(path)
    return table if all(new) else table.filter(pa.array(new))


class _PartWriter:
    """Gathers rows until they make a part."""

    def __init__(self, folder: ParquetStore, size: int) -> None:
        self._folder = folder
        self._size = size
        self._tables: list[pa.Table] = []
        self._since = time.monotonic()

    def add(self, rows: pa.Table) -> None:
        self._tables.append(rows)
        together = pa.concat_tables(self._tables)
        while together.num_rows >= self._size:
            self._tables = [together[self._size :]]
            self._write(together[: self._size])
            together = self._tables[0]
        if time.monotonic() - self._since > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """What is in hand becomes a part, however short."""
        together, self._tables = self._tables, []
        if together and (rows := pa.concat_tables(together)).num_rows:
            self._write(rows)

    def _write(self, rows: pa.Table) -> None:
        self._folder.write(rows)
        self._since = time.monotonic()


class _Interrupt(BaseException):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _SignalGuard:
    """SIGTERM and Ctrl-C end the waiting for rows, never the writing of a part. A second one ends at once."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._waiting = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> _SignalGuard:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def interrupting(self, rows: Iterator[pa.Table]) -> pa.Table | None:
        """The next rows; None where there are no more.

        Raises:
            _Signalled: meanwhile, or since the last call.
        """
        for number in self._before:
            if signal.getsignal(number) != self._caught and self._number is None:
                signal.signal(number, self._caught)  # Ray has put its own in place
        if self._number is not None:
            raise _Interrupt(self._number)
        self._waiting = True
        try:
            return next(rows, None)
        finally:
            self._waiting = False

    def _caught(self, number: int, _: FrameType | None) -> None:
        if self._number is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._number = number
        if self._waiting:
            raise _Interrupt(number)
