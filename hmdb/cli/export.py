"""`python -m hmdb export CHECKPOINT --output DIR`: a checkpoint as ONNX."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "Writes a checkpoint as ONNX, with its labels, clip spec and processor beside it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="Hub id or folder")
    parser.add_argument("--revision", help="branch, tag or commit of the checkpoint on the Hub")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new or empty folder")


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Exports the checkpoint.

    Raises:
        ModelError: it cannot be loaded or exported, or the folder is not empty.
    """
    from transformers.utils.logging import disable_progress_bar

    from hmdb.export import export
    from hmdb.model.loading import load

    disable_progress_bar()  # type: ignore[no-untyped-call]
    loaded = load(options.checkpoint, options.revision, "cpu")
    for note in loaded.notes:
        print(f"Note: {note}", file=sys.stderr)
    made = export(loaded, options.output)
    size = sum(path.stat().st_size for path in made.folder.iterdir())
    print(f"{loaded.checkpoint.name} is in {made.folder}, {size / 1e6:.1f} MB.")
    print(f"In ONNX Runtime its logits differ from torch's by at most {made.difference:.1g}.")
    return 0
