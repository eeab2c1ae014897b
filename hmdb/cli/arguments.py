"""Arguments shared by several commands."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from hmdb.clips.clip import SAMPLERS


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the model, its precision, the sampler and the number of labels."""
    parser.add_argument("--model", help="Hub id or folder (default: HMDB_MODEL, or the bundled checkpoint)")
    parser.add_argument("--revision", help="branch, tag or commit of the model on the Hub")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument(
        "--dtype", default="auto", help="precision: auto, float32, bfloat16 or int8 (default: %(default)s)"
    )
    parser.add_argument("--sampler", choices=SAMPLERS, help="frame sampler (default: the checkpoint's)")
    parser.add_argument(
        "--top-k",
        type=positive_int,
        default=5,
        metavar="K",
        help="number of labels for each video (default: %(default)s)",
    )


def check_revision(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    if options.revision and not (options.model or os.environ.get("HMDB_MODEL")):
        parser.error("--revision needs a model on the Hub: name one with --model or HMDB_MODEL")


def nonempty_path(text: str) -> Path:
    """An argument's `type`: a path. An empty one would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


def positive_int(text: str) -> int:
    """An argument's `type`: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)
