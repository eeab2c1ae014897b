"""`python -m hmdb annotate DIR --to FORMAT --output FOLDER`: exports the answers of `batch` for annotation tools."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hmdb.cli.batch import check_installed

HELP = "Exports the answers of batch for Label Studio or FiftyOne."
FORMATS = ("fiftyone", "label-studio")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("answers", metavar="DIR", help="folder or URL that batch wrote")
    parser.add_argument("--to", required=True, choices=FORMATS, help="the annotation tool")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="folder for the files to import")


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """
    Raises:
        DataError: there are no answers, or the folder cannot be written.
    """
    check_installed()
    from hmdb.batch_inference.annotation_export import export_annotations

    count = export_annotations(
        options.answers, options.to, options.output, on_message=lambda line: print(line, file=sys.stderr)
    )
    print(f"{count} videos are in {options.output}.")
    return 0
