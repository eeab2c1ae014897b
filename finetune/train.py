"""Recipe + data -> a checkpoint that hmdb can load, and its report."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch.nn import functional
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from finetune import folder, report
from finetune.augment import augment
from finetune.board import Board, Stopwatch
from finetune.dataset import ClipDataset, refuse_many_broken
from finetune.distill import Distillation, find_teacher, find_unlabelled, loss_with_teacher, teach
from finetune.leaks import LeakReport, clip_hashes, find_leaks
from finetune.networks import Start, start
from finetune.recipe import Recipe
from finetune.report import Outcome
from finetune.sources import SPLITS
from finetune.splits import DataSource, Splits, read_splits
from hmdb import calibration
from hmdb.attention import fuse
from hmdb.calibration import Calibration
from hmdb.clip import ClipSpec
from hmdb.errors import DataError, ModelError
from hmdb.model import CALIBRATION_KEY, CLIP_SPEC_KEY, Checkpoint, check_fit, read_network
from hmdb.preprocess import PIXELS_FILE, PixelSpec, normalize

CHECKPOINTS = "checkpoints"  # of the Trainer: the best epoch and the last
CLIPS = "clips"  # decoded once, shared by all processes
MAX_BROKEN = 0.02  # of all clips
MIN_CALIBRATION = 50  # val clips, below which a fitted temperature would be chance
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}

log = logging.getLogger(__name__)


class ClipTrainer(Trainer):
    """The Hugging Face Trainer on uint8 clips: augmented and normalised on the device."""

    loss_is_scaled_for_ga = False  # the loss is the mean over a batch

    def __init__(
        self,
        *,
        pixel_spec: PixelSpec,
        recipe: Recipe = Recipe(),  # noqa: B008 - frozen
        distillation: Distillation | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.model_accepts_loss_kwargs = False
        self._pixel_spec = pixel_spec
        self._recipe = recipe
        self._distillation = distillation

    def compute_loss(
        self, model: torch.nn.Module, inputs: Mapping[str, Any], return_outputs: bool = False, *_: Any, **__: Any
    ) -> Any:
        """The loss of a batch; in training with augmentation, smoothed labels and the teacher."""
        pixels, classes = inputs["pixel_values"], inputs["labels"]  # uint8 (B, T, H, W, 3), int (B,)
        if model.training and self._recipe.augment != "none":
            pixels = augment(pixels)
        outputs = model(pixel_values=normalize(pixels, self._pixel_spec))
        smoothing = self._recipe.label_smoothing if model.training else 0.0
        if self._distillation and "targets" in inputs:
            loss = loss_with_teacher(outputs.logits, classes, inputs["targets"], self._distillation, smoothing)
        else:
            loss = functional.cross_entropy(outputs.logits, classes, label_smoothing=smoothing)
        return (loss, outputs) if return_outputs else loss

    # The Trainer reads the file's tensors by name, and those of a ViViT have other names on disk than in
    # memory: most of its weights would stay as they are, with no more than a warning.
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        self._load(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        self._load(Path(str(self.state.best_model_checkpoint)))

    def _load(self, checkpoint: Path) -> None:
        saved, missing = read_network(Checkpoint(folder=checkpoint, name=checkpoint.name))
        if missing:
            raise ModelError(f"{checkpoint} lacks weights: {', '.join(sorted(missing)[:3])}, ...")
        self.accelerator.unwrap_model(self.model).load_state_dict(saved.state_dict())

    def outcome(self, part: str, dataset: ClipDataset) -> Outcome:
        """The answers on a part of the data, each clip once, whatever the number of processes."""
        began = time.monotonic()
        found = self.predict(dataset)
        return Outcome(
            part=part,
            names=tuple(sample.name for sample in dataset.samples),
            logits=np.asarray(found.predictions, dtype=np.float32),
            classes=np.asarray(found.label_ids),
            loss=(found.metrics or {})["test_loss"],
            seconds=time.monotonic() - began,
        )


class _PixelFile(TrainerCallback):
    """Makes each of the Trainer's checkpoints one that hmdb can load."""

    def __init__(self, pixel_spec: PixelSpec) -> None:
        self._pixel_spec = pixel_spec

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        if state.is_world_process_zero:
            _write_pixel_spec(
                self._pixel_spec, Path(str(args.output_dir)) / f"{folder.CHECKPOINT_PREFIX}{state.global_step}"
            )


class _Patience(TrainerCallback):
    """Early stopping that is told by the log alone, so that a resumed run stops where it would have."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_evaluate(self, args: TrainingArguments, state: Any, control: Any, **rest: Any) -> None:
        control.should_training_stop = out_of_patience(state.log_history, self._epochs)


def out_of_patience(history: Sequence[Mapping[str, Any]], epochs: int) -> bool:
    """Whether the last `epochs` evaluations brought no better val top-1; never where `epochs` is 0."""
    found = [row["eval_top1"] for row in history if "eval_top1" in row]
    return bool(epochs and found) and len(found) - 1 - found.index(max(found)) >= epochs


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
    keep_freed_memory()
    output = output.resolve()
    precision = usable_precision(recipe.precision)
    arguments = _arguments(recipe, precision, output)  # joins the other processes, if there are any
    splits = read_splits(source, recipe.seed)
    settings = {
        "recipe": asdict(recipe),
        "split": splits.hash,
        "distillation": asdict(distillation) if distillation else None,
    }
    with arguments.main_process_first(local=False):
        if arguments.process_index == 0:
            folder.claim(output, settings, resume=resume)
    finished = folder.read_json(output / folder.REPORT_FILE)
    if finished is not None:
        return finished
    last = folder.last_checkpoint(output / CHECKPOINTS)
    set_seed(recipe.seed)
    origin = start(
        recipe.init,
        splits.classes,
        sampler=recipe.sampler,
        extension=recipe.extension,
        paper_pixels=recipe.pixels == "paper",
    )
    check_fit(origin.network.config, origin.clip_spec, origin.pixel_spec, recipe.init)
    setattr(origin.network.config, CLIP_SPEC_KEY, origin.clip_spec.to_dict())
    fuse(origin.network)
    with arguments.main_process_first(local=True):
        datasets = _read(splits, origin, recipe, output / CLIPS, progress=arguments.local_process_index == 0)
    material = _checked(splits, datasets, allow_broken=source.allow_broken)
    if distillation:
        _attach_teacher(distillation, material, recipe)

    stopwatch = Stopwatch()
    board = Board(output / "runs", datasets["train"], splits.classes)
    trainer = ClipTrainer(
        pixel_spec=origin.pixel_spec,
        recipe=recipe,
        distillation=distillation,
        model=origin.network,
        args=arguments,
        train_dataset=datasets["train"],
        eval_dataset=datasets["val"],
        compute_metrics=board.measure,
        optimizer_cls_and_kwargs=_optimizer(recipe),
        callbacks=[
            board,
            stopwatch,
            _PixelFile(origin.pixel_spec),
            _Patience(recipe.patience),
        ],
    )
    _run(trainer, last, recipe.patience, origin.pixel_spec, output)
    val, test = (trainer.outcome(part, datasets[part]) for part in ("val", "test"))
    if trainer.is_world_process_zero():
        fitted = calibration.fit(val.logits, val.classes) if len(val.names) >= MIN_CALIBRATION else Calibration()
        save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, output, calibrated=fitted)
        material.splits.write(output)
        result = {
            "model": output.name,
            "recipe_name": name,
            "recipe": asdict(recipe) | {"precision": precision, "init": origin.base or recipe.init},
            "distillation": distillation.to_dict() if distillation else None,
            "base": origin.base,
            "base_revision": origin.revision,
            "model_type": origin.network.config.model_type,
            "clip_spec": origin.clip_spec.to_dict(),
            "parameters": origin.network.num_parameters(),
            "classes": list(splits.classes),
            "data": _described(material),
            "val": report.headline(val),
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
    return report.headline(test.without(leaked)) if 0 < len(leaked) < len(test.names) else None


def _epochs(state: TrainerState) -> dict[str, Any]:
    rows = [
        {"epoch": row["epoch"], "top1": row["eval_top1"], "top5": row["eval_top5"], "loss": row["eval_loss"]}
        for row in state.log_history
        if "eval_top1" in row
    ]
    return {"epochs": rows, "best_epoch": next(row["epoch"] for row in rows if row["top1"] == state.best_metric)}


def _described(material: _Material) -> dict[str, Any]:
    unlabelled = len(material.datasets["train"]) - len(material.splits.train)
    return {
        **report.describe(material.splits, material.broken),
        "unlabelled": unlabelled,
        "leaks": material.leaks.to_dict(),
        "leak_lines": material.leaks.lines(),
    }


def usable_precision(wanted: str) -> str:
    """The arithmetic that was asked for, or fp32 where the device has no such."""
    on_gpu = torch.cuda.is_available()
    if (wanted == "fp16" and not on_gpu) or (wanted == "bf16" and on_gpu and not torch.cuda.is_bf16_supported()):
        log.warning("This device does not train in %s; fp32 is used.", wanted)
        return "fp32"
    return wanted


def evaluation_arguments(output: Path, batch_size: int) -> TrainingArguments:
    """What `ClipTrainer.outcome` needs alone."""
    return TrainingArguments(
        output_dir=str(output),
        per_device_eval_batch_size=batch_size,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=not sys.stderr.isatty(),
        remove_unused_columns=False,
        label_names=["labels"],
    )


def _arguments(recipe: Recipe, precision: str, output: Path) -> TrainingArguments:
    on_gpu = torch.cuda.is_available()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    devices = processes if processes > 1 else max(torch.cuda.device_count(), 1)
    if recipe.batch_size % devices:
        raise DataError(f"A batch of {recipe.batch_size} does not divide among {devices} devices; change --batch-size.")
    return TrainingArguments(
        output_dir=str(output / CHECKPOINTS),
        per_device_train_batch_size=recipe.batch_size // devices,
        per_device_eval_batch_size=recipe.batch_size // devices,
        gradient_accumulation_steps=recipe.accumulation,
        activation_checkpointing=recipe.activation_checkpointing,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        seed=recipe.seed,
        data_seed=recipe.seed,
        use_cpu=not on_gpu,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="top1",
        greater_is_better=True,
        logging_steps=10,
        report_to="none",  # Board does it, in a folder of its own for each run
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_num_workers=min(8, os.cpu_count() or 1) if on_gpu else 0,
        dataloader_pin_memory=on_gpu,
        disable_tqdm=not sys.stderr.isatty(),
    )


def _optimizer(recipe: Recipe) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    options = {"lr": recipe.learning_rate} | ({"momentum": recipe.momentum} if recipe.optimizer == "sgd" else {})
    return OPTIMIZERS[recipe.optimizer], options


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
    broken = refuse_many_broken(datasets, limit=MAX_BROKEN, allowed=allow_broken)
    for clip, reason in broken.items():
        log.warning("Left out: %s: %s", clip, reason)
    splits = splits.without(broken)
    leaks = find_leaks(splits, clip_hashes(*datasets.values()))
    for line in leaks.lines():
        log.info("Split: %s", line)
    return _Material(splits=splits, datasets=datasets, broken=broken, leaks=leaks)


def _attach_teacher(plan: Distillation, material: _Material, recipe: Recipe) -> None:
    """Gives the training clips their targets, and adds the unlabelled ones to them."""
    datasets, splits = material.datasets, material.splits
    teacher = find_teacher(plan.teacher, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if plan.unlabelled:
        more = find_unlabelled(plan.unlabelled, splits, [datasets["val"], datasets["test"]])
        datasets["train"] = datasets["train"].like([*datasets["train"].samples, *more])
    datasets["train"].targets = teach(teacher, datasets["train"], splits.classes, recipe.batch_size)


def _run(trainer: ClipTrainer, last: Path | None, patience: int, pixel_spec: PixelSpec, output: Path) -> None:
    """Trains to the end, or stops with the best checkpoint kept and says what to do."""
    if last:
        state = TrainerState.load_from_json(str(last / folder.TRAINER_STATE))
        if out_of_patience(state.log_history, patience):  # it was cut off after its last epoch
            trainer.state = state
            trainer._load_best_model()
            return
    # each process augments its own share of a batch differently
    torch.manual_seed(trainer.args.seed + trainer.args.process_index)
    try:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
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
    if trainer.state.best_metric is None:
        raise DataError("Training ended before its first evaluation, so there is no checkpoint to keep.")


def _keep_best(trainer: ClipTrainer, pixel_spec: PixelSpec, output: Path) -> str:
    best = trainer.state.best_model_checkpoint
    if best is None or not Path(best).is_dir():
        return "No epoch was complete, so there is no checkpoint yet."
    if trainer.is_world_process_zero():
        with _staged(output) as staging:
            for path in (Path(best) / "config.json", *Path(best).glob("*.safetensors*")):
                shutil.copy2(path, staging)
            _write_pixel_spec(pixel_spec, staging)
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


def save_checkpoint(
    network: PreTrainedModel,
    clip_spec: ClipSpec,
    pixel_spec: PixelSpec,
    output: Path,
    *,
    calibrated: Calibration | None = None,
    half: bool = False,
) -> None:
    """Writes a checkpoint that `hmdb` and transformers load.

    It is written beside its place and then moved, so that a full disk leaves no half of it.

    Args:
        calibrated: how its logits become probabilities, if that is known.
        half: store the weights as float16.
    """
    setattr(network.config, CLIP_SPEC_KEY, clip_spec.to_dict())
    if calibrated:
        setattr(network.config, CALIBRATION_KEY, calibrated.to_dict())
    with _staged(output) as staging:
        state = {name: value.half() for name, value in network.state_dict().items()} if half else None
        network.save_pretrained(staging, state_dict=state)
        _write_pixel_spec(pixel_spec, staging)


def _write_pixel_spec(pixel_spec: PixelSpec, target: Path) -> None:
    (target / PIXELS_FILE).write_text(json.dumps(pixel_spec.to_dict(), indent=2) + "\n", encoding="utf-8")


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A folder whose files are moved to `target` once all are written."""
    staging = target / ".saving"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        yield staging
        for path in sorted(staging.iterdir()):
            path.replace(target / path.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def keep_freed_memory() -> None:
    """Tells glibc to keep freed memory instead of returning it to the kernel at once.

    Training on a CPU frees and asks for the same large blocks at each step; where the kernel has no
    transparent huge pages, faulting them in again took most of the time.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    m_trim_threshold, m_mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, 2**31 - 1)
