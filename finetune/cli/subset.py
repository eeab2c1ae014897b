"""`python -m finetune subset`: draws HMDB_simp, or another subset, from HMDB51."""

from __future__ import annotations

import argparse
from pathlib import Path

from finetune.cli.arguments import add_output, add_seed
from finetune.config.data import DataSource
from finetune.config.fields import whole_number
from finetune.config.hmdb_simp import HMDB_SIMP

HELP = "Draw HMDB_simp, or another subset, from HMDB51."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--classes", nargs="+", default=list(HMDB_SIMP), metavar="NAME", help="by default the 25 of HMDB_simp"
    )
    parser.add_argument("--clips", type=whole_number(1), default=50, help="clips a class (%(default)s)")
    add_seed(parser)
    parser.add_argument("--data", required=True, metavar="DIR", help="HMDB51, as <DIR>/<class>/<clip>")
    add_output(parser, Path(DataSource().location))


def run(options: argparse.Namespace) -> None:
    """
    Raises:
        DataError: as `finetune.jobs.subset.cut_subset` raises it.
    """
    from finetune.jobs.subset import cut_subset

    splits = cut_subset(options.data, options.output, options.classes, options.clips, options.seed)
    counts = ", ".join(f"{len(samples)} {name}" for name, samples in splits.by_name().items())
    print(f"{len(splits.classes)} classes in {options.output}: {counts}")
