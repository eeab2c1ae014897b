"""The command line of finetune: `python -m finetune [JOB] [options]`; without a job it trains."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from finetune.recipe import CHOICES, Recipe
from hmdb.errors import HmdbError

DEFAULT_DATA = Path("data/HMDB_simp")
DEFAULT_OUTPUT = Path("runs/timesformer")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a job.

    Returns:
        The exit status: 0, or 1 after a one-line error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    job = words.pop(0) if words and not words[0].startswith("-") else "train"
    if job not in JOBS:
        print(f"There is no job {job}; known are {', '.join(JOBS)}.", file=sys.stderr)
        return 1
    try:
        JOBS[job](words)
    except HmdbError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'The disk'}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def _train(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m finetune", description="Fine-tune a video transformer. The defaults are the paper's."
    )
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="<DIR>/<class>/<clip>, %(default)s"
    )
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR", help="%(default)s")
    add_recipe(parser)
    chosen = vars(parser.parse_args(words))
    data, output = chosen.pop("data"), chosen.pop("output")

    from finetune.train import train

    metrics = train(Recipe(**chosen), data, output)
    for split in ("val", "test"):
        figures = metrics[split]
        print(f"{split}: top-1 {figures['top1']:.1%}, top-5 {figures['top5']:.1%} of {figures['clips']} clips")
    print(f"The checkpoint is in {output}. Try it: python -m hmdb --model {output} VIDEO")


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """An option for every setting of a recipe."""
    group = parser.add_argument_group("settings")
    for field in fields(Recipe):
        default = field.default
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(default),
            default=default,
            choices=CHOICES.get(field.name),
            help="%(default)s",
        )


JOBS: dict[str, Callable[[Sequence[str]], None]] = {"train": _train}
