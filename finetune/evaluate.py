"""A checkpoint + data -> its report."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from finetune import report
from finetune.dataset import ClipDataset, refuse_many_broken
from finetune.splits import DataSource, read_splits
from finetune.trainer import ClipTrainer, evaluation_arguments
from hmdb.errors import DataError
from hmdb.model import find, read


def evaluate(
    model: str,
    source: DataSource,
    output: Path,
    *,
    revision: str | None = None,
    part: str = "test",
    sampler: str | None = None,
    batch_size: int = 8,
    seed: int = 0,
) -> dict[str, Any]:
    """Writes report.json, report.md and figures of a checkpoint on one part of a data set.

    The calibration that the checkpoint carries is judged; none is fitted.

    Args:
        sampler: takes the clips another way than the checkpoint says.
        seed: of the division and of the random sampler.

    Returns:
        The contents of report.json.

    Raises:
        DataError: the data set has classes that the checkpoint does not know, or cannot be read, or
            the output folder is not empty.
        ModelError: the checkpoint cannot be loaded.
    """
    began = time.monotonic()
    if output.exists() and any(output.iterdir()):
        raise DataError(f"{output} is not empty. Give a new --output folder.")
    splits = read_splits(source, seed)
    loaded = read(find(model, revision))
    unknown = [label for label in splits.classes if label not in loaded.labels]
    if unknown:
        raise DataError(
            f"{len(unknown)} of the {len(splits.classes)} classes of {splits.data} are not among the "
            f"{len(loaded.labels)} of {loaded.checkpoint.name}: {', '.join(unknown[:3])}. "
            f"It knows {', '.join(loaded.labels[:3])}, ..."
        )
    clip_spec = loaded.clip_spec.with_sampler(sampler)
    samples = splits.parts()[part]
    dataset = ClipDataset(samples, loaded.labels, clip_spec, loaded.pixel_spec, seed=seed)
    broken = refuse_many_broken({part: dataset}, allowed=source.allow_broken)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = ClipTrainer(
            pixel_spec=loaded.pixel_spec,
            model=loaded.network,
            args=evaluation_arguments(Path(scratch), batch_size),
        )
        outcome = trainer.outcome(part, dataset)
    result = {
        "model": loaded.checkpoint.name,
        "recipe": None,
        "base": loaded.checkpoint.name,
        "base_revision": loaded.checkpoint.revision,
        "model_type": loaded.network.config.model_type,
        "clip_spec": clip_spec.to_dict(),
        "notes": list(loaded.notes),
        "parameters": loaded.network.num_parameters(),
        "classes": list(loaded.labels),
        "data": report.describe(splits, broken),
        part: report.details(outcome, loaded.labels, loaded.calibration),
        "speed": {
            "eval_clips_per_second": outcome.clips_per_second,
            "seconds": round(time.monotonic() - began, 1),
        },
        **report.surroundings(),
    }
    if trainer.is_world_process_zero():
        report.write(result, output, outcome, dataset, loaded.network, loaded.pixel_spec)
    return result
