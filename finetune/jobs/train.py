"""Recipe + data -> a checkpoint that hmdb can load, and its report."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainerState, set_seed

from finetune import run_folder as folder
from finetune.data.dataset import ClipDataset, refuse_many_broken
from finetune.data.leaks import LeakReport, clip_hashes, find_leaks
from finetune.data.more import NO_LABEL, find_more
from finetune.data.sources import SPLITS, Sample
from finetune.data.splits import DataSource, Splits, read_splits
from finetune.distillation.features import Pupil, study
from finetune.distillation.plan import Distillation
from finetune.distillation.teachers import Teacher, find_teacher, teach
from finetune.evaluation import calibrate
from finetune.evaluation.metrics import Outcome, headline
from finetune.networks.linear_probe import start_head
from finetune.networks.start import Start, start
from finetune.publish import report
from finetune.recipe import Recipe
from finetune.training.arguments import optimizer, training_arguments, usable_precision
from finetune.training.callbacks import Board, Patience, PixelFile, Stopwatch, out_of_patience
from finetune.training.checkpoint import copy_checkpoint, save_checkpoint
from finetune.training.trainer import ClipTrainer
from hmdb.errors import DataError
from hmdb.machine import num_processes
from hmdb.model.attention import fuse
from hmdb.model.calibration import Calibration
from hmdb.model.checks import check_fit
from hmdb.model.loading import CLIP_SPEC_KEY
from hmdb.model.preprocess import PixelSpec

CHECKPOINTS = "checkpoints"  # of the Trainer: the best epoch and the last
CLIPS = "clips"  # decoded once, shared by all processes
MIN_CALIBRATION = 50  # val clips, below which a fitted temperature would be chance

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Material:
    """The data of a run, read.

    Attributes:
        splits: without the broken clips.
        datasets: "train", "val" and "test".
        broken: name -> reason.
        leaks: what the parts share.
    """

    splits: Splits
    datasets: dict[str, ClipDataset]
    broken: dict[str, str]
    leaks: LeakReport


def train(
    recipe: Recipe,
    source: DataSource,
    output: Path,
    *,
    name: str = "paper",
    resume: bool = False,
    distillation: Distillation | None = None,
) -> dict[str, Any]:
    """Trains, keeps the epoch with the best val top-1, evaluates it once on the test split.

    Leaves in `output` the checkpoint (model.safetensors, config.json, preprocessor_config.json), the
    splits as csv, report.json, report.md with its figures, and TensorBoard logs in `runs/`. Until then
    it holds `checkpoints/` and `clips/`, with which a run that was cut off goes on.

    Args:
        name: of the recipe, for the report.
        resume: go on with the run in `output`, if there is one; one that is complete is not run again.
        distillation: a teacher, whose answers count beside the labels.

    Returns:
        The contents of report.json.

    Raises:
        DataError: the data, the settings or the output folder do not fit, or the memory or the disk
            is full.
        ModelError: the starting weights or the teacher cannot be loaded.
        KeyboardInterrupt: with a text that says what was kept.
    """
    began = time.monotonic()
    output = output.resolve()
    precision = usable_precision(recipe.precision)
    arguments = training_arguments(recipe, precision, output / CHECKPOINTS)
    splits = read_splits(source, recipe.seed)
    settings = {
        **asdict(recipe),
        "split": splits.hash,
        "more": source.more,
        **(asdict(distillation) if distillation else {}),
    }
    with arguments.main_process_first(local=False):
        if arguments.process_index == 0:
            folder.claim(output, settings, resume=resume)
        last = folder.last_checkpoint(output / CHECKPOINTS)
    finished = folder.read_json(output / folder.REPORT_FILE)
    if finished is not None:
        return finished
    set_seed(recipe.seed)
    origin = start(
        recipe.init,
        splits.classes,
        sampler=recipe.sampler,
        extension=recipe.extension,
        paper_pixels=recipe.pixels == "paper",
        inflated=recipe.inflate,
    )
    if recipe.frames and origin.network.config.model_type != "timesformer":
        raise DataError("Only a TimeSformer can train on fewer frames than it answers with; leave frames out.")
    check_fit(origin.network.config, origin.clip_spec, origin.pixel_spec, recipe.init)
    setattr(origin.network.config, CLIP_SPEC_KEY, origin.clip_spec.to_dict())
    fuse(origin.network)
    with arguments.main_process_first(local=True):
        datasets = _read(splits, origin, recipe, output / CLIPS, progress=arguments.local_process_index == 0)
    material = _checked(splits, datasets, allow_broken=source.allow_broken)
    if source.more:
        _add(find_more(source.more, material.splits, _evaluated(datasets), labelled=True), material)
    pupil = _attach_teacher(distillation, material, origin, recipe, output / CLIPS) if distillation else None
    if recipe.inflate and not last:
        start_head(origin.network, datasets["train"], origin.pixel_spec)

    stopwatch = Stopwatch()
    board = Board(output / "runs", datasets["train"], splits.classes)
    trainer = ClipTrainer(
        pixel_spec=origin.pixel_spec,
        recipe=recipe,
        distillation=distillation,
        pupil=pupil,
        model=origin.network,
        args=arguments,
        train_dataset=datasets["train"],
        eval_dataset=datasets["val"],
        compute_metrics=board.measure,
        optimizer_cls_and_kwargs=optimizer(recipe),
        callbacks=[
            board,
            stopwatch,
            PixelFile(origin.pixel_spec),
            Patience(recipe.patience),
        ],
    )
    with _explained(trainer, origin.pixel_spec, output):
        _run(trainer, last, recipe.patience)
        val, test = (trainer.outcome(part, datasets[part]) for part in ("val", "test"))
        if trainer.is_world_process_zero():
            fitted = calibrate.fit(val.logits, val.classes) if len(val.names) >= MIN_CALIBRATION else Calibration()
            save_checkpoint(
                origin.network, origin.clip_spec, origin.pixel_spec, output, calibrated=fitted, half=recipe.half
            )
            material.splits.write(output)
            result = {
                "model": output.name,
                "recipe_name": name,
                "recipe": asdict(recipe)
                | {"precision": precision, "init": recipe.init if recipe.inflate else origin.base or recipe.init},
                "distillation": distillation.to_dict() if distillation else None,
                "base": origin.base,
                "base_revision": origin.revision,
                "model_type": origin.network.config.model_type,
                "clip_spec": origin.clip_spec.to_dict(),
                "parameters": origin.network.num_parameters(),
                "classes": list(splits.classes),
                "data": _described(material, source.more),
                "val": headline(val),
                "test": report.details(test, splits.classes, fitted),
                "test_alone": _alone(test, material.leaks),
                **_epochs(trainer.state),
                "speed": {
                    "train_clips_per_second": stopwatch.epochs * len(datasets["train"]) / max(stopwatch.seconds, 1e-9),
                    "eval_clips_per_second": test.clips_per_second,
                    "seconds": round(time.monotonic() - began, 1),
                },
                **report.surroundings(),
            }
            report.write(result, output, test, datasets["test"], origin.network.train(False), origin.pixel_spec)
            for scrap in (CHECKPOINTS, CLIPS):
                shutil.rmtree(output / scrap, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    done = folder.read_json(output / folder.REPORT_FILE)
    assert done is not None  # noqa: S101 - the first process has just written it
    return done


def _alone(test: Outcome, leaks: LeakReport) -> dict[str, Any] | None:
    """The figures on the test clips that resemble no other; None where none or all of them do."""
    leaked = {leak.clip for leak in leaks.leaks if leak.part == "test"}
    return headline(test.without(leaked)) if 0 < len(leaked) < len(test.names) else None


def _epochs(state: TrainerState) -> dict[str, Any]:
    rows = [
        {"epoch": row["epoch"], "top1": row["eval_top1"], "top5": row["eval_top5"], "loss": row["eval_cross_entropy"]}
        for row in state.log_history
        if "eval_top1" in row
    ]
    return {"epochs": rows, "best_epoch": next(row["epoch"] for row in rows if row["top1"] == state.best_metric)}


def _described(material: _Material, more: str) -> dict[str, Any]:
    added = material.datasets["train"].samples[len(material.splits.train) :]
    unlabelled = sum(sample.label == NO_LABEL for sample in added)
    return {
        **report.describe(material.splits, material.broken),
        "unlabelled": unlabelled,
        "more": len(added) - unlabelled,
        "more_from": Path(more).resolve().name if more else None,
        "leaks": material.leaks.to_dict(),
        "leak_lines": material.leaks.lines(),
    }


def _read(splits: Splits, origin: Start, recipe: Recipe, cache: Path, *, progress: bool) -> dict[str, ClipDataset]:
    return {
        part: ClipDataset(
            splits.parts()[part],
            splits.classes,
            origin.clip_spec,
            origin.pixel_spec,
            seed=recipe.seed,
            redraw=part == "train",
            cache=cache / part,
            progress=progress and sys.stderr.isatty(),
        )
        for part in SPLITS
    }


def _checked(splits: Splits, datasets: dict[str, ClipDataset], *, allow_broken: bool) -> _Material:
    """The data without the broken clips, and what its parts share; both are told."""
    broken = refuse_many_broken(datasets, allowed=allow_broken)
    for clip, reason in broken.items():
        log.warning("Left out: %s: %s", clip, reason)
    splits = splits.without(broken)
    leaks = find_leaks(splits, clip_hashes(*datasets.values()))
    for line in leaks.lines():
        log.info("Split: %s", line)
    return _Material(splits=splits, datasets=datasets, broken=broken, leaks=leaks)


def _evaluated(datasets: dict[str, ClipDataset]) -> list[ClipDataset]:
    return [datasets["val"], datasets["test"]]


def _add(more: Sequence[Sample], material: _Material) -> None:
    """More training clips, which are no part of the division."""
    datasets = material.datasets
    datasets["train"] = datasets["train"].like([*datasets["train"].samples, *more])


def _attach_teacher(
    plan: Distillation, material: _Material, origin: Start, recipe: Recipe, cache: Path
) -> Pupil | None:
    """Gives the training clips what the teacher says of them, after the unlabelled ones were added to them."""
    datasets, classes = material.datasets, material.splits.classes
    teacher = find_teacher(plan.teacher, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if plan.unlabelled:
        _add(find_more(plan.unlabelled, material.splits, _evaluated(datasets)), material)
    if isinstance(teacher, Teacher):
        datasets["train"].targets = teach(teacher, datasets["train"], classes, recipe.batch_size)
        return None
    if num_processes() > 1:
        raise DataError("A teacher of images teaches in one process: leave out accelerate launch.")
    if recipe.augment == "none":
        raise DataError("A teacher of images teaches augmented clips: set --augment clips.")
    lessons = study(teacher, datasets["train"], origin.clip_spec, classes, cache / "maps.npy")
    datasets["train"].maps = lessons.maps
    return Pupil(origin.network.config.hidden_size, lessons)


def _run(trainer: ClipTrainer, last: Path | None, patience: int) -> None:
    """Trains to the end, from the last checkpoint if there is one; the best epoch's weights are loaded then."""
    if last:
        state = TrainerState.load_from_json(str(last / folder.TRAINER_STATE))
        if out_of_patience(state.log_history, patience):  # it was cut off after its last epoch
            trainer.state = state
            trainer._load_best_model()
            return
    # each process augments its own share of a batch differently
    torch.manual_seed(trainer.args.seed + trainer.args.process_index)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    if trainer.state.best_metric is None:
        raise DataError("Training ended before its first evaluation, so there is no checkpoint to keep.")


@contextmanager
def _explained(trainer: ClipTrainer, pixel_spec: PixelSpec, output: Path) -> Iterator[None]:
    """Turns what can stop a run into a line that says what was kept and what to do."""
    try:
        yield
    except KeyboardInterrupt as stop:
        kept = _keep_best(trainer, pixel_spec, output)
        raise KeyboardInterrupt(f"Stopped. {kept} Go on with --resume.") from stop
    except (MemoryError, OSError, RuntimeError, SafetensorError) as error:
        if _is_out_of_memory(error):
            raise DataError(
                "Out of memory. Lower --batch-size (and raise --accumulation as much to keep the step the same), "
                "or set --activation-checkpointing, or --precision bf16."
            ) from error
        if _is_full_disk(error):
            folder.last_checkpoint(output / CHECKPOINTS)  # removes the half that was being written
            best = trainer.state.best_model_checkpoint
            kept = f"The best checkpoint so far is whole, in {best}." if best else "No epoch had been kept yet."
            raise DataError(f"The disk is full. {kept} Make room, then go on with --resume.") from error
        raise


def _keep_best(trainer: ClipTrainer, pixel_spec: PixelSpec, output: Path) -> str:
    best = trainer.state.best_model_checkpoint
    if best is None or not Path(best).is_dir():
        return "No epoch was complete, so there is no checkpoint yet."
    if trainer.is_world_process_zero():
        copy_checkpoint(Path(best), pixel_spec, output)
    return f"The best checkpoint so far (val top-1 {trainer.state.best_metric:.1%}) is in {output}."


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or "can't allocate memory" in text
        or "not enough memory" in text
    )


def _is_full_disk(error: BaseException) -> bool:
    return "No space left" in str(error) or "PytorchStreamWriter" in str(error)
