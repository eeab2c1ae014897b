"""`python -m hmdb VIDEO...`: a handful of videos, answered one after the other by one process."""

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
from hmdb.video.discover import find_videos

HELP = "Says what someone in a video is doing."
MANY = 4  # videos, from which on a progress bar is shown


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What came of one video: a prediction as a dictionary, without its pixels, or the reason why there is none."""

    video: Path
    prediction: dict[str, Any] | None
    error: str | None


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Classifies the videos that are named.

    Returns:
        The exit status: 0 where all were answered, 1 where one was not.

    Raises:
        HmdbError: the model cannot be loaded, or the table cannot be written.
    """
    check_revision(options, parser)
    form = to_json if options.json else to_csv if options.csv else to_table
    with _file(options.csv) if options.csv else contextlib.nullcontext(print) as write:
        answers = _answers(options)
        if text := form(answers):
            write(text)
    return 1 if any(answer.error for answer in answers) else 0


def _answers(options: argparse.Namespace) -> list[Answer]:
    """Loads the model and asks it about each video.

    Raises:
        ModelError: it cannot be loaded.
    """
    videos = [video for path in options.videos for video in find_videos(path)]
    prepare()  # another process, which starts beside what follows
    # torch and transformers take seconds; --help need not wait for them
    with gc_paused():
        from transformers.utils.logging import disable_progress_bar

        from hmdb.recognizer import Recognizer

        disable_progress_bar()  # type: ignore[no-untyped-call]
        recognizer = Recognizer.from_pretrained(options.model, options.revision, options.device, dtype=options.dtype)
    checkpoint = recognizer.loaded.checkpoint
    revision = f" @ {checkpoint.revision}" if checkpoint.revision else ""
    print(f"Model: {checkpoint.name}{revision}", file=sys.stderr)
    for note in recognizer.loaded.notes:
        print(f"Note: {note}", file=sys.stderr)

    answers = []
    quiet = len(videos) < MANY or not sys.stderr.isatty()
    for video in tqdm(videos, unit="video", disable=quiet):
        try:
            prediction = recognizer(video, top_k=options.top_k, sampler=options.sampler).to_dict()
            answers.append(Answer(video=video, prediction=prediction, error=None))
        except HmdbError as error:
            answers.append(Answer(video=video, prediction=None, error=str(error)))
            tqdm.write(str(error), file=sys.stderr)
    return answers


@contextlib.contextmanager
def _file(target: Path) -> Iterator[Callable[[str], None]]:
    """Writes a file whole or not at all. That it cannot be written is known before there is anything to write.

    Raises:
        DataError: it cannot be written.
    """
    with _named(target):
        part = _part(target)

    def write(text: str) -> None:
        with _named(target):
            part.write_text(text, encoding="utf-8", errors="surrogateescape")  # names of files are any bytes
            if part != target:
                part.replace(target.resolve())

    try:
        yield write
    finally:
        if part != target:
            part.unlink(missing_ok=True)


def _part(target: Path) -> Path:
    """An empty file beside the target, to take its place; a pipe or a device is written itself."""
    if target.exists():
        if not (target.is_file() or target.is_dir()):
            return target
        target.open("ab").close()
    whole = target.resolve()
    part = whole.with_name(f"{whole.name}.{os.getpid()}")
    part.touch()
    return part


@contextlib.contextmanager
def _named(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{one_line(str(target))} cannot be written: {error.strerror}.") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "videos", nargs="+", type=nonempty_path, metavar="VIDEO", help="file, folder of frames, or folder of these"
    )
    add_model_arguments(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON instead of a table")
    form.add_argument("--csv", type=Path, metavar="FILE", help="write CSV to a file instead of printing a table")


def to_table(answers: Sequence[Answer]) -> str:
    """A line per video: its name, or its path where another has that name, then its labels with their
    probabilities, the best first, the first behind "none of these" where it is taken to show none. Last comes why
    that is so, and what is wrong with the video.
    """
    names = [display_name(answer.video) for answer in answers]
    often = Counter(names)
    rows = [
        [name if name and often[name] == 1 else one_line(str(answer.video)), *_cells(answer.prediction)]
        for name, answer in zip(names, answers, strict=True)
        if answer.prediction
    ]
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cells(prediction: dict[str, Any]) -> list[str]:
    first, *others = (f"{label_words(each['label'])} {each['probability']:.1%}" for each in prediction["top"])
    remarks = [prediction["doubt"] or "", *prediction["notes"]]
    return [first if prediction["is_known"] else f"none of these: {first}", *others, " ".join(remarks).strip()]


def to_json(answers: Sequence[Answer]) -> str:
    """A list of objects: `video` with the answer as `Prediction.to_dict` gives it, or with `error`."""
    return json.dumps(
        [{"video": str(answer.video)} | (answer.prediction or {"error": answer.error}) for answer in answers],
        indent=2,
    )


def to_csv(answers: Sequence[Answer]) -> str:
    """A row per video and rank: video, rank, label, probability, error, is_known; a failed video has one row.

    `is_known` is that of the answer: false where the video perhaps shows none of the labels.
    """
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(("video", "rank", "label", "probability", "error", "is_known"))
    for answer in answers:
        if answer.prediction:
            known = json.dumps(answer.prediction["is_known"])
            rows.writerows(
                (answer.video, rank, each["label"], f"{each['probability']:.6f}", "", known)
                for rank, each in enumerate(answer.prediction["top"], start=1)
            )
        else:
            rows.writerow((answer.video, "", "", "", answer.error, ""))
    return file.getvalue()
