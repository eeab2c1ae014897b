"""`python -m finetune tables`: trains rows of the paper's tables and compares the results."""

from __future__ import annotations

import argparse
from pathlib import Path

from finetune.cli.arguments import EXTRA_DATA, add_data, add_output, add_settings
from finetune.config.data import DataSource
from finetune.config.fields import given
from finetune.config.recipe import Recipe
from finetune.config.recipes import PAPER_ROWS
from hmdb.machine import is_first_process

HELP = "Train rows of the paper's tables and compare the results with the paper's."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by default all: {', '.join(PAPER_ROWS)}")
    add_data(parser, without=EXTRA_DATA)
    add_output(parser, Path("runs/tables"))
    add_settings(parser)


def run(options: argparse.Namespace) -> None:
    """
    Raises:
        HmdbError: as `finetune.jobs.tables.run_tables` raises it.
    """
    from finetune.jobs.tables import run_tables

    source = DataSource(**given(options, DataSource))
    text = run_tables(options.names or list(PAPER_ROWS), source, options.output, given(options, Recipe))
    if is_first_process():
        print(text)
