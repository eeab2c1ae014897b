"""`python -m finetune check`: opens every file of a data set and describes the run that it would give."""

from __future__ import annotations

import argparse
from pathlib import Path

from finetune.cli.arguments import EXTRA_DATA, add_data, add_seed
from finetune.config.data import DataSource
from finetune.config.fields import given
from hmdb.errors import DataError

HELP = "Open every file of a data set and describe the run that it would give."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_seed(parser)
    parser.add_argument("--sheet", type=Path, default=None, metavar="PNG", help="write a contact sheet of the clips")
    add_data(parser, without=(*EXTRA_DATA, "allow_broken"))


def run(options: argparse.Namespace) -> None:
    """
    Raises:
        HmdbError: there is no data set, or it cannot be split.
    """
    from finetune.jobs.check import check

    result = check(DataSource(**given(options, DataSource)), options.seed, options.sheet)
    for line in result.lines():
        print(line)
    if not result.splits:
        raise DataError("Nothing could be trained on this.")
