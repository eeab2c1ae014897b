"""`python -m hmdb teach DIR --output OUT`: teaches actions of your own from a few clips of each."""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from hmdb.cli.arguments import nonempty_path
from hmdb.errors import DataError, ModelError, VideoError
from hmdb.text import first_line, label_words, one_line
from hmdb.video import prepare
from hmdb.video.discover import find_videos, left_out_text

if TYPE_CHECKING:
    from hmdb.teaching.fitting import Taught

HELP = "Teaches actions of your own from a few clips of each, in seconds."
ZIP_FILE = "mine.zip"


class LabelledVideo(NamedTuple):
    """A video with its action, and the person, recording or take that it shares with others."""

    path: Path
    label: str
    group: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        type=nonempty_path,
        metavar="DIR",
        help="folder of <action>/<clip>, or a csv with the columns path and label; clips of the action none are "
        "negatives, which show nothing in particular",
    )
    parser.add_argument(
        "--output", type=nonempty_path, required=True, metavar="OUT", help="a new or empty folder for the checkpoint"
    )
    parser.add_argument(
        "--group-by",
        metavar="COLUMN|PATTERN",
        help="column of the csv, or regular expression with a part in brackets for the names of clips, such as "
        "'^([a-z]+)_': clips of one group (person, recording, take) are left out together (default: source, if the csv "
        "has it)",
    )
    parser.add_argument("--model", help="Hub id or folder of the network (default: HMDB_MODEL, or the bundled one)")
    parser.add_argument("--revision", help="branch, tag or commit of the model on the Hub")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument("--sampler", help="frame sampler (default: the checkpoint's)")
    parser.add_argument(
        "--mirror", action="store_true", help="learn from mirrored copies too if they help; takes twice the time"
    )


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Teaches the actions, prints what may be expected of them, and writes the checkpoint and the zip.

    Returns:
        The exit status: 0 if every clip was used, 1 if some could not be read.

    Raises:
        HmdbError: an action has no clips, a name or a clip is there twice, or the folder cannot be written.
    """
    if options.output.exists() and (not options.output.is_dir() or any(options.output.iterdir())):
        raise ModelError(f"{one_line(str(options.output))} is not an empty folder. Name a new --output folder.")
    videos = list_videos(options.data, options.group_by)
    prepare()
    from dataclasses import replace

    from transformers.utils.logging import disable_progress_bar

    from hmdb.recognizer import Recognizer
    from hmdb.teaching.storage import write_checkpoint, write_zip

    disable_progress_bar()  # type: ignore[no-untyped-call]
    recognizer = Recognizer.from_pretrained(options.model, options.revision, options.device, dtype="float32")
    spec = recognizer.loaded.clip_spec.with_sampler(options.sampler)
    recognizer = Recognizer(replace(recognizer.loaded, clip_spec=spec))
    clips, failed = [], 0
    for video in tqdm(videos, unit="clip", disable=not sys.stderr.isatty()):
        try:
            features = recognizer.clip_features(video.path, video.label, group=video.group, mirror=options.mirror)
            clips.append(features)
        except VideoError as error:
            failed += 1
            tqdm.write(f"Left out: {error}", file=sys.stderr)
    taught = recognizer.teach(clips)
    print(to_table(taught))
    write_checkpoint(taught, recognizer.loaded.checkpoint.folder, options.output)
    write_zip(taught, options.output / ZIP_FILE)
    size = (options.output / ZIP_FILE).stat().st_size
    print(f"Wrote {options.output} and {options.output / ZIP_FILE}, {size / 1000:.0f} kB.")
    return 1 if failed else 0


def to_table(taught: Taught) -> str:
    """A line for each action with its clips and how many of them are named right, and the sentences."""
    validation, labels = taught.validation, taught.head.labels
    width = max(len(label_words(label)) for label in labels)
    lines = []
    for index, label in enumerate(labels):
        count = sum(clip.label == label for clip in taught.clips)
        line = f"{label_words(label):{width}}  {count:3} clips"
        if validation.confusions:
            line += f"  {validation.confusions[index][index]:3} right when left out"
        lines.append(line)
    return "\n".join([*lines, validation.sentence, validation.strangers_sentence])


def list_videos(data: Path, group_by: str | None) -> list[LabelledVideo]:
    """Lists the labelled videos of a folder or a csv.

    Raises:
        DataError: it is neither, an action has no clips, or the groups cannot be found.
    """
    name = one_line(str(data))
    if data.is_dir():
        videos = list(_in_folder(data, group_by))
    elif data.suffix.lower() == ".csv" and data.is_file():
        videos = list(_in_table(data, group_by))
    else:
        raise DataError(f"{name} is neither a folder of <action>/<clip> nor a csv of path and label.")
    if not videos:
        raise DataError(f"{name} has no clips: it must hold <action>/<clip>, with at least two actions.")
    return videos


def _in_folder(root: Path, group_by: str | None) -> Iterator[LabelledVideo]:
    left_out: list[Path] = []
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        paths = find_videos(folder, left_out.append)
        if paths == [folder]:
            raise DataError(f"The action {one_line(folder.name)} has no clips. Add some, or remove its folder.")
        for path in paths:
            yield LabelledVideo(path, folder.name, _match(group_by, path) if group_by else None)
    if left_out:
        print(f"Note: {left_out_text(left_out)}", file=sys.stderr)


def _in_table(table: Path, group_by: str | None) -> Iterator[LabelledVideo]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{one_line(str(table))} is not a csv in UTF-8: {first_line(error)}") from error
    for number, row in enumerate(rows, start=2):
        if not row.get("path") or not row.get("label"):
            raise DataError(f"Line {number} of {one_line(str(table))} has no path or no label.")
        path = table.parent / row["path"]
        column = group_by or "source"
        group = row.get(column) or None
        if group_by and column not in row:
            group = _match(group_by, path)
        yield LabelledVideo(path, row["label"], group)


def _match(pattern: str, path: Path) -> str:
    try:
        match = re.search(pattern, path.name)
        group = match and match[1]
    except (re.error, IndexError) as error:
        raise DataError(
            f"--group-by {pattern} is neither a column nor a regular expression with a part in brackets."
        ) from error
    if not group:
        raise DataError(f"--group-by {pattern} finds nothing in the name {one_line(path.name)}.")
    return group
