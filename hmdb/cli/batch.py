"""`python -m hmdb batch SOURCE... --output DIR`: very many videos, into a folder of Parquet."""

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

HELP = "Answers very many videos into a folder of Parquet, each exactly once, on this machine or a Ray cluster."
INSTALL = "batch needs Ray Data and pyarrow: pip install 'ray[data]' pyarrow 'fsspec[http]'"
LOG_SECONDS = 30.0  # between two lines of progress where there is no terminal
SHOWN = 10  # labels of the summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="file, folder, glob, .csv, .jsonl or .parquet table, or a URL of these: s3://, gs://, hf://, https://",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder or URL for the Parquet files")
    parser.add_argument("--column", default="path", help="of tables: the one with paths or URLs (%(default)s)")
    add_model_arguments(parser)
    parser.add_argument("--embeddings", action="store_true", help="add the pooled features to each row")
    parser.add_argument("--timeline", action="store_true", help="write what happens when to a second table, segments")
    parser.add_argument("--retry-failed", action="store_true", help="do videos that failed before again")
    parser.add_argument("--retry-changed", action="store_true", help="do files that changed since then again")
    parser.add_argument("--address", help="of a Ray cluster, or auto; if not given, this machine alone")
    parser.add_argument(
        "--decoders", type=positive_int, metavar="N", help="processes that decode for GPUs (one per core)"
    )
    parser.add_argument(
        "--answerers", type=positive_int, metavar="N", help="processes that answer (one per core or GPU)"
    )
    parser.add_argument("--gpu-share", type=_share, default=1.0, metavar="X", help="of a GPU for each (%(default)s)")
    parser.add_argument("--batch-size", type=positive_int, metavar="N", help="clips answered together (4; on a GPU 32)")
    parser.add_argument(
        "--part-rows", type=positive_int, default=1000, metavar="N", help="rows of a file (%(default)s)"
    )


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """
    Returns:
        The exit status: 0 where every video was answered, 1 where one failed, 128 + its number where a signal
        ended the job.

    Raises:
        HmdbError: the job cannot be done.
    """
    check_revision(options, parser)
    check_installed()
    from transformers.utils.logging import disable_progress_bar

    from hmdb.batch_inference.ray_pipeline import WorkerPlan
    from hmdb.batch_inference.run import TerminatedError, batch

    disable_progress_bar()  # type: ignore[no-untyped-call]
    bar = _Bar()
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
            report=bar.show,
            say=bar.say,
        )
    except TerminatedError as stopped:
        bar.close()
        print(stopped, file=sys.stderr)
        return 128 + stopped.signal
    bar.close()
    print(summary_text(summary))
    return 1 if summary.errors else 0


def check_installed() -> None:
    """
    Raises:
        DataError: the extra `batch` is not installed.
    """
    try:
        import fsspec  # noqa: F401 - that it is there
        import pyarrow  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError as error:
        raise DataError(f"{INSTALL}.") from error


def summary_text(summary: Summary) -> str:
    """How many of what, and how fast, in a few lines."""
    labels, errors = summary.labels, summary.errors
    lines = [
        f"{labels.total() + errors.total()} rows: {labels.total()} answered, {errors.total()} failed. "
        f"This run: {summary.answered} in {summary.seconds:.0f} s, {summary.rate:.1f} a second."
    ]
    lines += [f"{number:8}  {label}" for label, number in labels.most_common(SHOWN)]
    if len(labels) > SHOWN:
        rest = labels.total() - sum(number for _, number in labels.most_common(SHOWN))
        lines.append(f"{rest:8}  of {len(labels) - SHOWN} further labels")
    lines += [f"{number:8}  {error}" for error, number in errors.most_common()]
    return "\n".join(lines)


class _Bar:
    """Progress with rate, failures and time left: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._began = self._said = time.monotonic()

    def say(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def show(self, progress: Progress) -> None:
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=progress.total, initial=progress.done, unit="video", file=sys.stderr)
            self._bar.set_postfix(failed=progress.failed, refresh=False)
            self._bar.update(progress.done - self._bar.n)
        elif time.monotonic() - self._said > LOG_SECONDS:
            self._said = time.monotonic()
            line = tqdm.format_meter(
                progress.done,
                progress.total,
                self._said - self._began,
                unit="video",
                initial=progress.before,
                postfix=f"failed={progress.failed}",
            )
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and at most 1")
    return share
