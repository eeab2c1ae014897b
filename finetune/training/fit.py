"""Runs the Trainer, and turns what can stop it into one line that says what was kept and what would help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from finetune.run_dir import last_checkpoint
from finetune.training.callbacks import TensorBoardImages
from finetune.training.checkpoint import copy_checkpoint
from finetune.training.trainer import ClipTrainer
from hmdb.errors import DataError
from hmdb.model.preprocess import PixelSpec


def fit(trainer: ClipTrainer, last: Path | None) -> None:
    """Trains to the end, from the last checkpoint if there is one, and loads the best epoch's weights.

    Raises:
        DataError: there was no evaluation, so no checkpoint is the best.
    """
    # each process augments its own share of a batch differently
    torch.manual_seed(trainer.args.seed + trainer.args.process_index)
    try:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    except BaseException:
        if isinstance(board := trainer.pop_callback(TensorBoardImages), TensorBoardImages):
            board.close()  # its thread would write into a folder that may be gone
        raise
    if trainer.state.best_metric is None:
        raise DataError("Training ended before its first evaluation, so there is no checkpoint to keep.")


@contextmanager
def explain_errors(trainer: ClipTrainer, pixel_spec: PixelSpec, output: Path) -> Iterator[None]:
    """Says what was kept and what would help after Ctrl-C, divergence, and lack of memory or disk space.

    Raises:
        DataError: training diverged, or memory or disk are full.
        KeyboardInterrupt: with a text.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        kept = _copy_best(trainer, pixel_spec, output)
        raise KeyboardInterrupt(f"Stopped. {kept} Go on with --resume.") from stop
    except FloatingPointError as error:
        half = ", or --precision bfloat16 or float32" if trainer.args.fp16 else ""
        raise DataError(
            f"{error}: training diverged and stops here. Lower --learning-rate (it is {trainer.args.learning_rate:g}), "
            f"or let it rise slowly with --warmup-ratio 0.1{half}.{_new_folder_advice(trainer, output)}"
        ) from error
    except (MemoryError, OSError, RuntimeError, SafetensorError) as error:
        if _is_out_of_memory(error):
            raise DataError(
                "Out of memory. Lower --batch-size (raising --gradient-accumulation-steps keeps the step the same), "
                f"or set --activation-checkpointing, or --precision bfloat16.{_new_folder_advice(trainer, output)}"
            ) from error
        if _is_full_disk(error):
            last_checkpoint(Path(str(trainer.args.output_dir)))  # removes the partial one
            best = trainer.state.best_model_checkpoint
            kept = f"The best checkpoint so far is complete, in {best}." if best else "There is no checkpoint yet."
            raise DataError(f"The disk is full. {kept} Make room, then go on with --resume.") from error
        raise


def _copy_best(trainer: ClipTrainer, pixel_spec: PixelSpec, output: Path) -> str:
    best = trainer.state.best_model_checkpoint
    if best is None or not Path(best).is_dir():
        return "No epoch was complete, so there is no checkpoint yet."
    if trainer.is_world_process_zero():
        copy_checkpoint(Path(best), pixel_spec, output)
    return f"The best checkpoint so far (val top-1 {trainer.state.best_metric:.1%}) is in {output}."


def _new_folder_advice(trainer: ClipTrainer, output: Path) -> str:
    """Advises a new folder if there is a checkpoint, since a run resumes with its own settings only."""
    kept = last_checkpoint(Path(str(trainer.args.output_dir)))
    return f" The checkpoint in {output} has these settings: give a new --output folder as well." if kept else ""


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or "not enough memory" in text
    )


def _is_full_disk(error: BaseException) -> bool:
    return any(sign in str(error) for sign in ("No space left", "PytorchStreamWriter", "unexpected pos"))
