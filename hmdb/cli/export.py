"""`python -m hmdb export CHECKPOINT --output DIR`: converts a checkpoint to ONNX."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "Converts a checkpoint to ONNX, with its labels, clip spec and processor configuration."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="Hub id or folder")
    parser.add_argument("--revision", help="branch, tag or commit of the checkpoint on the Hub")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new or empty folder")


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Exports the checkpoint.

    Raises:
        ModelError: the checkpoint cannot be loaded or exported, or the folder is not empty.
    """
    from transformers.utils.logging import disable_progress_bar

    from hmdb.export import export
    from hmdb.model.loading import load

    disable_progress_bar()  # type: ignore[no-untyped-call]
    loaded = load(options.checkpoint, options.revision, "cpu")
    for note in loaded.notes:
        print(f"Note: {note}", file=sys.stderr)
    exported = export(loaded, options.output)
    size = sum(path.stat().st_size for path in exported.folder.iterdir())
    print(f"Wrote {loaded.checkpoint.name} to {exported.folder}, {size / 1e6:.1f} MB.")
    print(f"Its logits in ONNX Runtime differ from PyTorch's by at most {exported.difference:.1g}.")
    return 0
