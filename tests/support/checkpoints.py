"""Small checkpoints with random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.models.initial import load_initial
from finetune.training.checkpoint import save_checkpoint


def write_checkpoint(folder: Path, init: str = "scratch:timesformer-tiny", sampler: str | None = None) -> Path:
    """A small checkpoint with random, seeded weights."""
    torch.manual_seed(0)
    origin = load_initial(init, HMDB_SIMP, sampler=sampler, extension=None, paper_pixels=True)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, folder)
    return folder
