"""`python -m finetune leakage`: reports source videos, files and frames that train, val and test share."""

from __future__ import annotations

import argparse

from finetune.cli.arguments import EXTRA_DATA, add_data, add_seed
from finetune.config.data import DataSource
from finetune.config.fields import given

HELP = "Report leakage between train, val and test: shared source videos, files and frames."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_seed(parser)
    add_data(parser, without=(*EXTRA_DATA, "allow_broken"))


def run(options: argparse.Namespace) -> None:
    """
    Raises:
        DataError: there is no data set, or it cannot be split.
    """
    from finetune.data.dataset import read_thumbnails
    from finetune.data.leakage import find_leaks, fingerprints
    from finetune.data.splits import read_splits

    splits = read_splits(DataSource(**given(options, DataSource)), options.seed)
    print(f"{splits.data}: {splits.origin}; {splits.hash}")
    for line in find_leaks(splits, fingerprints(read_thumbnails(splits))).lines():
        print(line)
