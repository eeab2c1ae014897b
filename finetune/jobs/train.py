"""Trains a model: prepares network and clips, fits, saves the checkpoint, and evaluates what was saved."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, set_seed

from finetune import run_dir
from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.recipe import Recipe
from finetune.data.layouts import index_dataset
from finetune.data.load import ClipData, load_clips
from finetune.data.sample import ClipIndex
from finetune.data.splits import Splits, split_dataset
from finetune.evaluation.calibrate import fit_calibration
from finetune.evaluation.metrics import Predictions
from finetune.evaluation.ood import NoDetectorError, OodFigures
from finetune.evaluation.predict import predict
from finetune.jobs.fit_ood import add_detector
from finetune.models.initial import InitialModel, load_initial
from finetune.models.layerwise import freeze
from finetune.models.linear_probe import fit_head
from finetune.report import card, page, store
from finetune.report.build import accuracy_without_leaks, build, describe_data, describe_training
from finetune.report.schema import Report
from finetune.training.arguments import optimizer, training_arguments, usable_precision
from finetune.training.callbacks import ComputeMetrics, Stopwatch, check_reporters, reporters
from finetune.training.checkpoint import save_checkpoint, write_calibration
from finetune.training.fit import explain_errors, fit
from finetune.training.trainer import ClipTrainer
from hmdb.errors import DataError
from hmdb.model.calibration import Calibration
from hmdb.model.families import use_recorded_attention
from hmdb.model.hub import Checkpoint
from hmdb.model.loading import CLIP_SPEC_KEY, LoadedModel, load_checkpoint
from hmdb.model.validation import check_input_shape

# scikit-learn's C of the linear probe: a stronger penalty is as accurate on few clips, less overconfident, and
# fine-tunes more gently
PROBE_C = {"random": 0.5, "linear-probe": 0.1}
MIN_CALIBRATION = 50  # val clips, below which a fitted temperature would be noise

PrepareClips = Callable[[ClipData, InitialModel, Path], dict[str, Any]]

log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    source: DataSource,
    output: Path,
    *,
    index: ClipIndex | None = None,
    name: str = "paper",
    resume: bool = False,
    report_to: Collection[str] = ("tensorboard",),
    trainer_class: type[ClipTrainer] = ClipTrainer,
    prepare_clips: PrepareClips | None = None,
    distillation: DistillationConfig | None = None,
) -> Report:
    """Trains a model, selects the epoch with the best val top-1, and evaluates the saved checkpoint.

    A fitted head stays selected unless an epoch is better by more than one standard error. The test split is
    predicted once, at the end.

    Leaves in `output` the checkpoint (model.safetensors, config.json, preprocessor_config.json) and its card, the
    splits as csv, report.json, report.md with its figures, and TensorBoard's files in `runs/`. While it runs, `output`
    holds `checkpoints/` and `clips/`, from which an interrupted run resumes.

    Args:
        index: the clips of the source, if they have been listed already.
        name: of the recipe, for the report.
        resume: go on with the run in `output`, if there is one; a finished run is not repeated.
        report_to: loggers of the loss and val figures, of "tensorboard", "trackio" and "wandb".
        trainer_class, prepare_clips: for a way of training that extends this one: its Trainer, and a function of
            clips, network and cache folder that returns the further arguments of the Trainer.
        distillation: the settings of a distillation, for `run.json` and the report.

    Raises:
        DataError: data, settings or output folder do not fit, training diverges, or memory or disk are full.
        ModelError: the initial weights cannot be loaded.
        KeyboardInterrupt: with a text that says what was kept.
    """
    stopwatch, output = Stopwatch(), output.resolve()
    check_reporters(report_to)
    used = replace(recipe, precision=usable_precision(recipe.precision))
    arguments = training_arguments(used, output / run_dir.CHECKPOINTS)
    splits = split_dataset(index or index_dataset(source.location, source.group_by), source, recipe.seed)
    arguments.run_name, arguments.project = "-".join(output.parts[-2 if source.fold else -1 :]), splits.data
    with arguments.main_process_first(local=False):
        if arguments.process_index == 0:
            run_dir.claim(output, _settings(recipe, splits, source, distillation), resume=resume)
        last = run_dir.last_checkpoint(output / run_dir.CHECKPOINTS)
    if finished := store.read(output):
        return finished
    arguments.eval_on_start = recipe.head == "linear-probe" and last is None
    with run_dir.released_on_error(output):
        set_seed(recipe.seed)
        initial = _initial_model(recipe, splits)
        clips = output / run_dir.CLIPS
        with arguments.main_process_first(local=True):
            data = load_clips(
                splits,
                source,
                initial.clip_spec,
                initial.pixel_spec,
                seed=recipe.seed,
                cache=clips,
                progress=arguments.local_process_index == 0 and sys.stderr.isatty(),
                unlabelled=distillation.unlabelled if distillation else "",
            )
        further = prepare_clips(data, initial, clips) if prepare_clips else {}
        if (recipe.inflate or recipe.head == "linear-probe") and not last:
            fit_head(
                initial.network,
                data.train,
                initial.pixel_spec,
                inverse_regularization=PROBE_C[recipe.head],
                into_norm=bool(recipe.inflate),
                balanced=recipe.class_weights == "balanced",
            )
        metrics = ComputeMetrics()
        early_stopping = [EarlyStoppingCallback(recipe.patience)] if recipe.patience else []
        loggers = reporters(report_to, output / run_dir.LOGS, data.train, splits.classes, metrics)
        trainer = trainer_class(
            pixel_spec=initial.pixel_spec,
            recipe=used,
            class_weights=data.train.balanced_weights() if recipe.class_weights == "balanced" else None,
            model=initial.network,
            args=arguments,
            train_dataset=data.train,
            eval_dataset=data.val,
            compute_metrics=metrics,
            optimizer_cls_and_kwargs=optimizer(used),
            callbacks=[stopwatch, *loggers, *early_stopping],
            **further,
        )
        with explain_errors(trainer, initial.pixel_spec, output):
            fit(trainer, last)
            if trainer.is_world_process_zero():
                save_checkpoint(initial.network, initial.clip_spec, initial.pixel_spec, output, half=recipe.half)
                data.splits.write(output)
            trainer.accelerator.wait_for_everyone()
            loaded = load_checkpoint(Checkpoint(folder=output, name=output.name))
            val = predict(loaded, data.val, "val", arguments.per_device_eval_batch_size)
            test = predict(loaded, data.test, "test", arguments.per_device_eval_batch_size)
            if trainer.is_world_process_zero():
                loaded, ood = _calibrate(loaded, val, data)
                report = build(
                    loaded,
                    describe_data(data.splits, data.broken, source, added=data.added, leaks=data.leaks),
                    (val, test),
                    parameters=loaded.network.num_parameters(),
                    base=initial.base,
                    base_revision=initial.revision,
                    base_licence=initial.licence,
                    test_alone=accuracy_without_leaks(test, data.leaks),
                    ood=ood,
                    training=describe_training(used, name, distillation, initial, trainer.state, len(data.train)),
                    seconds=round(stopwatch.seconds(trainer.state.log_history), 1),
                )
                card.write(report, output, None)
                page.write(report, output, test, data.test, loaded)
                for scrap in (run_dir.CHECKPOINTS, run_dir.CLIPS):
                    shutil.rmtree(output / scrap, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    written = store.read(output)
    assert written is not None  # noqa: S101 - the first process has just written it
    return written


def _settings(
    recipe: Recipe, splits: Splits, source: DataSource, distillation: DistillationConfig | None
) -> dict[str, object]:
    """The settings that a run must resume with."""
    return {
        **asdict(recipe),
        "split": splits.hash,
        "more": source.more,
        "keep_similar": source.keep_similar,
        **asdict(distillation or DistillationConfig(teacher="")),
    }


def _initial_model(recipe: Recipe, splits: Splits) -> InitialModel:
    """The network that the recipe starts from, ready to train."""
    initial = load_initial(
        recipe.init,
        splits.classes,
        sampler=recipe.sampler,
        extension=recipe.extension,
        paper_pixels=recipe.pixels == "paper",
        inflated=recipe.inflate,
    )
    config = initial.network.config
    if recipe.frames and config.model_type != "timesformer":
        raise DataError("--train-num-frames is for TimeSformers only.")
    if recipe.frames > initial.clip_spec.num_frames:
        raise DataError(
            f"--train-num-frames must be at most {initial.clip_spec.num_frames}, the clip of {recipe.init}."
        )
    check_input_shape(config, initial.clip_spec, initial.pixel_spec, recipe.init)
    freeze(initial.network, recipe.freeze)
    setattr(config, CLIP_SPEC_KEY, initial.clip_spec.to_dict())
    use_recorded_attention(initial.network)
    return initial


def _calibrate(loaded: LoadedModel, val: Predictions, data: ClipData) -> tuple[LoadedModel, OodFigures | None]:
    """Fits the calibration on val clips and the detector on train and val clips; writes both into the checkpoint."""
    enough = len(val.names) >= MIN_CALIBRATION
    calibration = fit_calibration(val.logits, val.classes) if enough else Calibration()
    write_calibration(loaded.checkpoint.folder, calibration)
    figures = None
    try:
        _, figures = add_detector(loaded, data)
    except NoDetectorError as error:
        decides = "only the probability can show" if calibration.threshold else "nothing but a static clip shows"
        log.info("%s So %s that a video belongs to none of the classes.", error, decides)
    return replace(loaded, calibration=calibration), figures
