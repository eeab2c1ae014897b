"""Small checkpoints with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.models.initial import load_initial
from finetune.training.checkpoint import save_checkpoint
from hmdb.errors import ModelError


def write_checkpoint(folder: Path, init: str = "scratch:timesformer-tiny", sampler: str | None = None) -> Path:
    """A small checkpoint with random, seeded weights."""
    torch.manual_seed(0)
    origin = load_initial(init, HMDB_SIMP, sampler=sampler, extension=None, paper_pixels=True)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, folder)
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    """Changes keys of a config.json; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def one_line(error: pytest.ExceptionInfo[ModelError]) -> bool:
    """True if the message is one printable line of at most 300 characters."""
    return str(error.value).isprintable() and 0 < len(str(error.value)) <= 300
