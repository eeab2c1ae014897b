"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from hmdb.clips.clip import SAMPLERS


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model answers, how precisely, and how many labels it gives."""
    parser.add_argument("--model", help="Hub id or folder; if not given, HMDB_MODEL or the bundled checkpoint")
    parser.add_argument("--revision", help="branch, tag or commit of the model on the Hub")
    parser.add_argument("--device", help="cpu, cuda, ...; if not given, a GPU where there is one")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16, int8: the precision (%(default)s)")
    parser.add_argument("--sampler", choices=SAMPLERS, help="how frames are taken; if not given, the checkpoint's way")
    parser.add_argument(
        "--top-k", type=positive_int, default=5, metavar="K", help="answers for each video (%(default)s)"
    )


def check_revision(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    if options.revision and not (options.model or os.environ.get("HMDB_MODEL")):
        parser.error("--revision is that of a model on the Hub: name it with --model or HMDB_MODEL")


def nonempty_path(text: str) -> Path:
    """A path, as `type` of an argument. One that is empty would be the folder one is in."""
    if not text:
        raise argparse.ArgumentTypeError("a name is empty")
    return Path(text)


def positive_int(text: str) -> int:
    """A whole number of at least 1, as `type` of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return int(text)
