"""Predicts the clips of a split with a saved checkpoint."""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from finetune.data.dataset import ClipDataset
from finetune.evaluation.metrics import Predictions
from hmdb.model.loading import LoadedModel
from hmdb.model.preprocess import normalize


def join_processes() -> PartialState:
    """Joins the other processes of a launch, if there are any, and takes this process's GPU."""
    return PartialState(cpu=not torch.cuda.is_available())


@torch.inference_mode()
def predict(loaded: LoadedModel, dataset: ClipDataset, split: str, batch_size: int) -> Predictions:
    """Predicts each clip once, in float32; several processes share the clips and all get the result.

    Args:
        loaded: in eval mode.
        split: the name of the clips, for the result.
        batch_size: of each process.
    """
    began = time.monotonic()
    processes = join_processes()
    rows = range(processes.process_index, len(dataset), processes.num_processes)
    batches = tqdm(
        DataLoader(Subset(dataset, rows), batch_size),
        split,
        leave=False,
        disable=not (processes.is_local_main_process and sys.stderr.isatty()),
    )
    logits: list[np.ndarray] = []
    for batch in batches:
        pixels = normalize(batch["pixel_values"].to(loaded.network.device), loaded.pixel_spec)
        logits.extend(loaded.network(pixel_values=pixels).logits.float().cpu().numpy())
    by_row = dict(gather_object(list(zip(rows, logits, strict=True))))
    return Predictions(
        split=split,
        names=tuple(sample.name for sample in dataset.samples),
        logits=np.stack([by_row[row] for row in range(len(dataset))]),
        classes=dataset.class_ids,
        seconds=time.monotonic() - began,
    )
