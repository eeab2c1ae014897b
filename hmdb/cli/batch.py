"""`python -m hmdb batch SOURCE... --output DIR`: classifies many videos into a folder of Parquet files."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from hmdb.cli.arguments import add_model_arguments, check_revision, positive_int
from hmdb.errors import DataError

if TYPE_CHECKING:
    from hmdb.batch_inference.run import Progress, Summary

HELP = "Classifies many videos into a folder of Parquet files, each exactly once, on this machine or a Ray cluster."
INSTALL = "batch needs Ray Data and pyarrow: pip install 'ray[data]' pyarrow 'fsspec[http]'"
LOG_SECONDS = 30.0  # between two lines of progress without a terminal
MAX_LABELS = 10  # in the summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="file, folder, glob, .csv, .jsonl or .parquet table, or a URL of these: s3://, gs://, hf://, https://",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder or URL for the Parquet files")
    parser.add_argument("--column", default="path", help="column of the tables with paths or URLs (%(default)s)")
    add_model_arguments(parser)
    parser.add_argument("--embeddings", action="store_true", help="add the pooled features to each row")
    parser.add_argument(
        "--timeline", action="store_true", help="write the actions over time to a second table, segments"
    )
    parser.add_argument("--retry-failed", action="store_true", help="do videos again that failed in an earlier run")
    parser.add_argument("--retry-changed", action="store_true", help="do files again that changed since an earlier run")
    parser.add_argument("--address", help="address of a Ray cluster, or auto; if not given, this machine alone")
    parser.add_argument(
        "--decoders", type=positive_int, metavar="N", help="number of decoding processes for GPUs (one per core)"
    )
    parser.add_argument(
        "--answerers", type=positive_int, metavar="N", help="number of processes with a model (one per core or GPU)"
    )
    parser.add_argument(
        "--gpu-share", type=gpu_share, default=1.0, metavar="X", help="GPUs per answerer, at most 1 (%(default)s)"
    )
    parser.add_argument("--batch-size", type=positive_int, metavar="N", help="clips per forward pass (4; on a GPU 32)")
    parser.add_argument(
        "--part-rows", type=positive_int, default=1000, metavar="N", help="rows per Parquet file (%(default)s)"
    )


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """
    Returns:
        The exit status: 0 if every video was answered, 1 if one failed, 128 + the signal's number if a signal ended
        the job.

    Raises:
        HmdbError: the job cannot run.
    """
    check_revision(options, parser)
    check_installed()
    from transformers.utils.logging import disable_progress_bar

    from hmdb.batch_inference.ray_pipeline import WorkerPlan
    from hmdb.batch_inference.run import TerminatedError, batch

    disable_progress_bar()  # type: ignore[no-untyped-call]
    display = _ProgressDisplay()
    try:
        summary = batch(
            options.sources,
            options.output,
            model=options.model,
            revision=options.revision,
            device=options.device,
            dtype=options.dtype,
            sampler=options.sampler,
            top_k=options.top_k,
            column=options.column,
            embeddings=options.embeddings,
            timeline=options.timeline,
            retry_failed=options.retry_failed,
            retry_changed=options.retry_changed,
            address=options.address,
            workers=WorkerPlan(decoders=options.decoders, answerers=options.answerers, gpu_share=options.gpu_share),
            batch_size=options.batch_size,
            part_rows=options.part_rows,
            on_progress=display.update,
            on_message=display.message,
        )
    except TerminatedError as stopped:
        display.close()
        print(stopped, file=sys.stderr)
        return 128 + stopped.signal
    display.close()
    print(summary_text(summary))
    return 1 if summary.errors else 0


def check_installed() -> None:
    """
    Raises:
        DataError: the extra `batch` is not installed.
    """
    try:
        import fsspec  # noqa: F401 - only to see that it is installed
        import pyarrow  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError as error:
        raise DataError(f"{INSTALL}.") from error


def summary_text(summary: Summary) -> str:
    """The counts of labels and errors and the rate, in a few lines."""
    labels, errors = summary.labels, summary.errors
    lines = [
        f"{labels.total() + errors.total()} rows: {labels.total()} answered, {errors.total()} failed. "
        f"This run: {summary.answered} in {summary.seconds:.0f} s, {summary.rate:.1f} a second."
    ]
    lines += [f"{number:8}  {label}" for label, number in labels.most_common(MAX_LABELS)]
    if len(labels) > MAX_LABELS:
        others = labels.total() - sum(number for _, number in labels.most_common(MAX_LABELS))
        lines.append(f"{others:8}  of {len(labels) - MAX_LABELS} further labels")
    lines += [f"{number:8}  {error}" for error, number in errors.most_common()]
    return "\n".join(lines)


class _ProgressDisplay:
    """Progress with rate, failures and time left: a bar on a terminal, else a line every `LOG_SECONDS`."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._start = self._last_line = time.monotonic()

    def message(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def update(self, progress: Progress) -> None:
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=progress.total, initial=progress.done, unit="video", file=sys.stderr)
            self._bar.set_postfix(failed=progress.failed, refresh=False)
            self._bar.update(progress.done - self._bar.n)
        elif time.monotonic() - self._last_line > LOG_SECONDS:
            self._last_line = time.monotonic()
            line = tqdm.format_meter(
                progress.done,
                progress.total,
                self._last_line - self._start,
                unit="video",
                initial=progress.before,
                postfix=f"failed={progress.failed}",
            )
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def gpu_share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and at most 1")
    return share
