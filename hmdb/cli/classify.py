"""`python -m hmdb VIDEO...`: classifies a few videos, one after the other."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hmdb.cli.arguments import add_model_arguments, check_revision, nonempty_path
from hmdb.errors import DataError, HmdbError
from hmdb.machine import gc_paused
from hmdb.text import display_name, label_words, one_line
from hmdb.video import prepare
from hmdb.video.discover import find_videos, left_out_text

HELP = "Recognizes the human action in each video."
MANY = 4  # number of videos from which on a progress bar is shown


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoResult:
    """The result of one video: the prediction as a dictionary, without pixels, or the error."""

    video: Path
    prediction: dict[str, Any] | None
    error: str | None


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Classifies the videos and prints or writes the results.

    Returns:
        The exit status: 0 if every video was classified, 1 if not.

    Raises:
        HmdbError: the model cannot be loaded, or the CSV file cannot be written.
    """
    check_revision(options, parser)
    to_text = to_json if options.json else to_csv if options.csv else to_table
    with _atomic_file(options.csv) if options.csv else contextlib.nullcontext(print) as write:
        results = _classify(options)
        if text := to_text(results):
            write(text)
    return 1 if any(result.error for result in results) else 0


def _classify(options: argparse.Namespace) -> list[VideoResult]:
    """Loads the model and classifies each video.

    Raises:
        ModelError: the model cannot be loaded.
    """
    left_out: list[Path] = []
    videos = [video for path in options.videos for video in find_videos(path, left_out.append)]
    if left_out:
        print(f"Note: {left_out_text(left_out)}", file=sys.stderr)
    prepare()  # starts a decoding process while torch and transformers are imported
    with gc_paused():
        from transformers.utils.logging import disable_progress_bar

        from hmdb.recognizer import Recognizer

        disable_progress_bar()  # type: ignore[no-untyped-call]
        recognizer = Recognizer.from_pretrained(options.model, options.revision, options.device, dtype=options.dtype)
        if options.head:
            from hmdb.teaching.storage import read_zip

            recognizer = recognizer.with_head(read_zip(options.head))
    checkpoint = recognizer.loaded.checkpoint
    revision = f" @ {checkpoint.revision}" if checkpoint.revision else ""
    print(f"Model: {checkpoint.name}{revision}", file=sys.stderr)
    for note in recognizer.loaded.notes:
        print(f"Note: {note}", file=sys.stderr)

    results = []
    quiet = len(videos) < MANY or not sys.stderr.isatty()
    for video in tqdm(videos, unit="video", disable=quiet):
        try:
            prediction = recognizer(video, top_k=options.top_k, sampler=options.sampler).to_dict()
            results.append(VideoResult(video=video, prediction=prediction, error=None))
        except HmdbError as error:
            results.append(VideoResult(video=video, prediction=None, error=str(error)))
            tqdm.write(str(error), file=sys.stderr)
    return results


@contextlib.contextmanager
def _atomic_file(target: Path) -> Iterator[Callable[[str], None]]:
    """Yields a function that replaces a file atomically. The path is checked first, before videos are classified.

    Raises:
        DataError: the file cannot be written.
    """
    with _as_data_error(target):
        part = _part(target)

    def write(text: str) -> None:
        with _as_data_error(target):
            part.write_text(text, encoding="utf-8", errors="surrogateescape")  # file names may be any bytes
            if part != target:
                part.replace(target.resolve())

    try:
        yield write
    finally:
        if part != target:
            part.unlink(missing_ok=True)


def _part(target: Path) -> Path:
    """An empty temporary file next to the target; the target itself if it is a pipe or a device."""
    if target.exists():
        if not (target.is_file() or target.is_dir()):
            return target
        target.open("ab").close()
    whole = target.resolve()
    part = whole.with_name(f"{whole.name}.{os.getpid()}")
    part.touch()
    return part


@contextlib.contextmanager
def _as_data_error(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{one_line(str(target))} cannot be written: {error.strerror}.") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        type=nonempty_path,
        metavar="VIDEO",
        help="video file, folder of frames, or folder of these",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--head",
        type=nonempty_path,
        metavar="ZIP",
        help="name the actions that `python -m hmdb teach` wrote to this zip",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--csv", type=Path, metavar="FILE", help="write CSV to a file instead of printing a table")


def to_table(results: Sequence[VideoResult]) -> str:
    """A line per video: its name (its path if the name is not unique), the labels with their probabilities, best first,
    after "none of these" if the clip was rejected, and at the end the reason and any notes on the video.
    """
    names = [display_name(result.video) for result in results]
    counts = Counter(names)
    rows = [
        [name if name and counts[name] == 1 else one_line(str(result.video)), *_cells(result.prediction)]
        for name, result in zip(names, results, strict=True)
        if result.prediction
    ]
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cells(prediction: dict[str, Any]) -> list[str]:
    first, *others = (f"{label_words(each['label'])} {each['probability']:.1%}" for each in prediction["top"])
    remarks = [prediction["doubt"] or "", *prediction["notes"]]
    return [first if prediction["is_known"] else f"none of these: {first}", *others, " ".join(remarks).strip()]


def to_json(results: Sequence[VideoResult]) -> str:
    """A list of objects with `video`, and the keys of `Prediction.to_dict` or `error`."""
    return json.dumps(
        [{"video": str(result.video)} | (result.prediction or {"error": result.error}) for result in results],
        indent=2,
    )


def to_csv(results: Sequence[VideoResult]) -> str:
    """A row per video and rank: video, rank, label, probability, error, is_known; one row for a failed video.

    `is_known` is false on all rows of a clip that was rejected as none of the labels.
    """
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(("video", "rank", "label", "probability", "error", "is_known"))
    for result in results:
        if result.prediction:
            known = json.dumps(result.prediction["is_known"])
            rows.writerows(
                (result.video, rank, each["label"], f"{each['probability']:.6f}", "", known)
                for rank, each in enumerate(result.prediction["top"], start=1)
            )
        else:
            rows.writerow((result.video, "", "", "", result.error, ""))
    return file.getvalue()
