"""`python -m hmdb annotate DIR --to FORMAT --output FOLDER`: what `batch` answered, for annotation tools."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hmdb.cli.batch import check_installed

HELP = "Writes the answers of batch as Label Studio or FiftyOne import them."
FORMATS = ("fiftyone", "label-studio")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("answers", metavar="DIR", help="folder or URL that batch wrote")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the tool that imports it")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="for its files")


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """
    Raises:
        DataError: there is nothing to write, or it cannot be written.
    """
    check_installed()
    from hmdb.batch_inference.annotation_export import export

    count = export(options.answers, options.to, options.output, say=lambda line: print(line, file=sys.stderr))
    print(f"{count} videos are in {options.output}.")
    return 0
