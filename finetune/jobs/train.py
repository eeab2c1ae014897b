"""A recipe and a data set -> a checkpoint and its report: prepare, fit, evaluate, publish."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transformers import TrainerCallback, TrainerState, TrainingArguments, set_seed

from finetune import run_dir as folder
from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.recipe import Recipe
from finetune.data.layouts import index_dataset
from finetune.data.load import NO_LABEL, ClipData, load_clips
from finetune.data.sample import ClipIndex
from finetune.data.splits import Splits, split_dataset
from finetune.distillation.attach import attach_teacher
from finetune.distillation.image_teacher import ProjectionHead
from finetune.evaluation import calibrate
from finetune.evaluation.metrics import Accuracy, Predictions, headline_split
from finetune.evaluation.ood import fit_ood_detector
from finetune.models.features import features_of
from finetune.models.initial import InitialModel, load_initial
from finetune.models.layerwise import freeze
from finetune.models.linear_probe import fit_head
from finetune.report import card
from finetune.report import page as pages
from finetune.report import schema as reports
from finetune.report.schema import Environment, Epoch, Report, TrainingReport
from finetune.training.arguments import optimizer, training_arguments, usable_precision
from finetune.training.callbacks import (
    ComputeMetrics,
    EarlyStopping,
    SaveProcessor,
    Stopwatch,
    TensorBoardImages,
    clips_per_second,
)
from finetune.training.checkpoint import save_checkpoint
from finetune.training.fit import explained, fit
from finetune.training.reporting import refuse_missing, reporters
from finetune.training.trainer import ClipTrainer
from hmdb.errors import DataError
from hmdb.model.calibration import Calibration
from hmdb.model.families import use_recorded_attention
from hmdb.model.loading import BUNDLED, CLIP_SPEC_KEY
from hmdb.model.ood import OOD_FILE, OodDetector
from hmdb.model.validation import check_input_shape

# scikit-learn's C: a weaker head is as right on few clips, less sure of itself, and learns on more gently
STRENGTHS = {"random": 0.5, "linear-probe": 0.1}
MIN_CALIBRATION = 50  # val clips, below which a fitted temperature would be chance

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What a run does.

    Attributes:
        recipe: with the precision that the device has.
        recipe_name: for the report.
        source: the data.
        distillation: a teacher, whose answers count beside the labels; None for none.
        output: the folder of the run.
        report_to: what is told of each epoch, by name.
    """

    recipe: Recipe
    recipe_name: str
    source: DataSource
    distillation: DistillationConfig | None
    output: Path
    report_to: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """All that training needs.

    Attributes:
        origin: the network, and how its clips are made.
        projection: what the student's features are compared with a teacher's through.
        trainer: with the clips, ready to train.
        last: the checkpoint to go on from; None at the start.
        stopwatch: times the run.
        reporters: what is told of each epoch.
    """

    origin: InitialModel
    data: ClipData
    trainer: ClipTrainer
    last: Path | None
    stopwatch: Stopwatch
    reporters: tuple[TrainerCallback, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """What the best epoch answers, and the calibration that was fitted on the val clips."""

    val: Predictions
    test: Predictions
    calibration: Calibration


def train(
    recipe: Recipe,
    source: DataSource,
    output: Path,
    *,
    name: str = "paper",
    resume: bool = False,
    distillation: DistillationConfig | None = None,
    report_to: Collection[str] = ("tensorboard",),
    index: ClipIndex | None = None,
) -> Report:
    """Trains, keeps the epoch with the best val top-1, evaluates it once on the test split.

    Leaves in `output` the checkpoint (model.safetensors, config.json, preprocessor_config.json) and its
    card, the splits as csv, report.json, report.md with its figures, and TensorBoard's files in `runs/`.
    Until then it holds `checkpoints/` and `clips/`, with which a run that was cut off goes on.

    Args:
        name: of the recipe, for the report.
        resume: go on with the run in `output`, if there is one; one that is complete is not run again.
        distillation: a teacher, whose answers count beside the labels.
        report_to: of "tensorboard", "trackio" and "wandb" those that are told each epoch's loss and val figures.
        index: the clips of the data set, if they have been listed already.

    Raises:
        DataError: the data, the settings or the output folder do not fit, or the memory or the disk
            is full.
        ModelError: the starting weights or the teacher cannot be loaded.
        KeyboardInterrupt: with a text that says what was kept.
    """
    began = time.monotonic()
    plan = RunConfig(
        recipe=replace(recipe, precision=usable_precision(recipe.precision)),
        recipe_name=name,
        source=source,
        distillation=distillation,
        output=output.resolve(),
        report_to=tuple(report_to),
    )
    if distillation and (recipe.mixup or recipe.class_weights != "none"):
        raise DataError("A student learns from whole clips, each alike: leave out --mixup-alpha and --class-weights.")
    refuse_missing(plan.report_to)
    arguments = training_arguments(plan.recipe, plan.output / folder.CHECKPOINTS)
    index = index or index_dataset(source.location, source.group_by)
    splits = split_dataset(index, source, recipe.seed)
    arguments.run_name, arguments.project = "-".join(plan.output.parts[-2 if source.fold else -1 :]), splits.data
    with arguments.main_process_first(local=False):
        if arguments.process_index == 0:
            folder.claim(plan.output, _settings(recipe, splits, plan), resume=resume)
        last = folder.last_checkpoint(plan.output / folder.CHECKPOINTS)
    if finished := reports.read(plan.output):
        return finished
    arguments.eval_on_start = recipe.head == "linear-probe" and last is None
    with folder.released_on_error(plan.output):
        prepared = prepare(plan, splits, arguments, last, Stopwatch(began))
        with explained(prepared.trainer, prepared.origin.pixel_spec, plan.output):
            fit(prepared.trainer, last, recipe.patience)
            evaluated = final_predictions(prepared)
            if prepared.trainer.is_world_process_zero():
                write_outputs(plan, prepared, evaluated)
    prepared.trainer.accelerator.wait_for_everyone()
    report = reports.read(plan.output)
    assert report is not None  # noqa: S101 - the first process has just written it
    return report


def prepare(
    plan: RunConfig, splits: Splits, arguments: TrainingArguments, last: Path | None, stopwatch: Stopwatch
) -> Prepared:
    """Loads the network, reads the clips, asks the teacher, fits a first head where the recipe wants one."""
    recipe, output = plan.recipe, plan.output
    set_seed(recipe.seed)
    origin = _start(recipe, splits)
    with arguments.main_process_first(local=True):
        data = load_clips(
            splits,
            plan.source,
            origin.clip_spec,
            origin.pixel_spec,
            seed=recipe.seed,
            cache=output / folder.CLIPS,
            progress=arguments.local_process_index == 0 and sys.stderr.isatty(),
            unlabelled=plan.distillation.unlabelled if plan.distillation else "",
        )
    projection = None
    if plan.distillation:
        hidden = origin.network.config.hidden_size
        data, projection = attach_teacher(
            plan.distillation, data, recipe, origin.clip_spec, hidden, output / folder.CLIPS
        )
    if (recipe.inflate or recipe.head == "linear-probe") and not last:
        fit_head(
            origin.network,
            data.train,
            origin.pixel_spec,
            strength=STRENGTHS[recipe.head],
            into_norm=bool(recipe.inflate),
            balanced=recipe.class_weights == "balanced",
        )
    measures = ComputeMetrics()
    told: list[TrainerCallback] = list(reporters(plan.report_to))
    if "tensorboard" in plan.report_to:
        told.append(TensorBoardImages(output / folder.LOGS, data.train, splits.classes, measures))
    trainer = _trainer(plan, origin, data, projection, arguments, measures, [stopwatch, *told])
    return Prepared(origin=origin, data=data, trainer=trainer, last=last, stopwatch=stopwatch, reporters=tuple(told))


def final_predictions(prepared: Prepared) -> Evaluated:
    """Answers val and test with the weights that the trainer holds, and calibrates on val."""
    for reporter in prepared.reporters:  # the Trainer would show them both splits, as "test"
        prepared.trainer.remove_callback(reporter)
    val, test = (
        prepared.trainer.outcome(split, dataset)
        for split, dataset in (("val", prepared.data.val), ("test", prepared.data.test))
    )
    enough = len(val.names) >= MIN_CALIBRATION
    calibration = calibrate.fit(val.logits, val.classes) if enough else Calibration()
    return Evaluated(val=val, test=test, calibration=calibration)


def write_outputs(plan: RunConfig, prepared: Prepared, evaluated: Evaluated) -> None:
    """Writes checkpoint, splits, card and report into the folder of the run, and removes what only training needed."""
    origin, output = prepared.origin, plan.output
    save_checkpoint(
        origin.network,
        origin.clip_spec,
        origin.pixel_spec,
        output,
        calibrated=evaluated.calibration,
        known=_known(prepared, len(evaluated.val.names)),
        half=plan.recipe.half,
    )
    prepared.data.splits.write(output)
    report = _report(plan, prepared, evaluated)
    card.write(report, output, None)
    network = origin.network.train(False)
    pages.write(report, output, evaluated.test, prepared.data.test, network, origin.pixel_spec)
    for scrap in (folder.CHECKPOINTS, folder.CLIPS):
        shutil.rmtree(output / scrap, ignore_errors=True)


def _known(prepared: Prepared, val_clips: int) -> OodDetector | None:
    """What tells strangers, from the features that the best epoch has; why there is none is logged."""
    if val_clips < MIN_CALIBRATION:
        log.info(
            "No %s is written: that takes %d val clips, and there are %d. "
            "So each clip in which something moves is taken for one of the classes.",
            OOD_FILE,
            MIN_CALIBRATION,
            val_clips,
        )
        return None
    origin, data = prepared.origin, prepared.data
    features, _, classes = features_of(origin.network, data.train, origin.pixel_spec)
    known = fit_ood_detector((features, classes), features_of(origin.network, data.val, origin.pixel_spec))
    if known is None:
        log.info(
            "No %s is written: no val clip is answered right, or a class has no training clip. "
            "So clips that show none of the classes are told by probability alone.",
            OOD_FILE,
        )
    return known


def _settings(recipe: Recipe, splits: Splits, plan: RunConfig) -> dict[str, object]:
    """What must be the same for a run to be resumed; a run without a teacher says so."""
    return {
        **asdict(recipe),
        "split": splits.hash,
        "more": plan.source.more,
        "keep_similar": plan.source.keep_similar,
        **asdict(plan.distillation or DistillationConfig(teacher="")),
    }


def _start(recipe: Recipe, splits: Splits) -> InitialModel:
    """The network that the recipe starts from, ready to train."""
    origin = load_initial(
        recipe.init,
        splits.classes,
        sampler=recipe.sampler,
        extension=recipe.extension,
        paper_pixels=recipe.pixels == "paper",
        inflated=recipe.inflate,
    )
    config = origin.network.config
    if recipe.frames and config.model_type != "timesformer":
        raise DataError("--train-num-frames is for TimeSformers alone.")
    if recipe.frames > origin.clip_spec.num_frames:
        raise DataError(f"train_num_frames must be at most {origin.clip_spec.num_frames}, the clip of {recipe.init}.")
    check_input_shape(config, origin.clip_spec, origin.pixel_spec, recipe.init)
    freeze(origin.network, recipe.freeze)
    setattr(config, CLIP_SPEC_KEY, origin.clip_spec.to_dict())
    use_recorded_attention(origin.network)
    return origin


def _trainer(
    plan: RunConfig,
    origin: InitialModel,
    data: ClipData,
    projection: ProjectionHead | None,
    arguments: TrainingArguments,
    measures: ComputeMetrics,
    callbacks: Sequence[TrainerCallback],
) -> ClipTrainer:
    return ClipTrainer(
        pixel_spec=origin.pixel_spec,
        recipe=plan.recipe,
        class_weights=data.train.balanced_weights() if plan.recipe.class_weights == "balanced" else None,
        distillation=plan.distillation,
        projection=projection,
        model=origin.network,
        args=arguments,
        train_dataset=data.train,
        eval_dataset=data.val,
        compute_metrics=measures,
        optimizer_cls_and_kwargs=optimizer(plan.recipe),
        callbacks=[*callbacks, SaveProcessor(origin.pixel_spec), EarlyStopping(plan.recipe.patience)],
    )


def _report(plan: RunConfig, prepared: Prepared, evaluated: Evaluated) -> Report:
    origin, data, state = prepared.origin, prepared.data, prepared.trainer.state
    recipe, test = plan.recipe, evaluated.test
    classes, more = data.splits.classes, plan.source.more
    unlabelled = sum(sample.label == NO_LABEL for sample in data.added)
    epochs = _epochs(state)
    return Report(
        model=plan.output.name,
        model_type=origin.network.config.model_type,
        base=origin.base,
        base_revision=origin.revision,
        base_licence=origin.licence,
        clip_spec=origin.clip_spec,
        parameters=origin.network.num_parameters(),
        classes=classes,
        data=reports.describe(
            data.splits,
            data.broken,
            plan.source,
            unlabelled=unlabelled,
            more=len(data.added) - unlabelled,
            more_from=Path(more).resolve().name if more else None,
            leaks=data.leaks,
        ),
        val=reports.details(evaluated.val, classes, evaluated.calibration),
        test=reports.details(test, classes, evaluated.calibration),
        test_alone=_alone(test, data),
        training=TrainingReport(
            recipe_name=plan.recipe_name,
            recipe=recipe if recipe.inflate else replace(recipe, init=_public_init(recipe.init, origin)),
            distillation=plan.distillation.public() if plan.distillation else None,
            epochs=epochs,
            best_epoch=next(row.epoch for row in epochs if row.top1 == state.best_metric),
            clips_per_second=clips_per_second(state.log_history, len(data.train)),
        ),
        eval_clips_per_second=test.clips_per_second,
        seconds=round(prepared.stopwatch.seconds(state.log_history), 1),
        machine=Environment.here(),
    )


def _public_init(init: str, origin: InitialModel) -> str:
    """As others can type it: a folder by its name alone, but for the one that comes with hmdb."""
    return "hmdb/bundled" if Path(init).resolve() == BUNDLED else origin.base or init


def _alone(test: Predictions, data: ClipData) -> Accuracy | None:
    """The figures on the test clips that resemble no other; None where none or all of them do."""
    leaked = {leak.clip for leak in data.leaks.found if leak.split == "test"}
    return headline_split(test.without(leaked)) if 0 < len(leaked) < len(test.names) else None


def _epochs(state: TrainerState) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(epoch=row["epoch"], top1=row["eval_top1"], top5=row["eval_top5"], loss=row["eval_cross_entropy"])
        for row in state.log_history
        if "eval_top1" in row
    )
