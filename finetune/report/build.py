"""Builds a report from a checkpoint, its data and its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerState

from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.recipe import Recipe
from finetune.data.leakage import LeakReport
from finetune.data.load import NO_LABEL
from finetune.data.sample import Sample
from finetune.data.splits import Splits
from finetune.evaluation.calibrate import chance_calibration_error, expected_calibration_error
from finetune.evaluation.metrics import Accuracy, Predictions, accuracy, confused_pairs, confusion, per_class
from finetune.models.initial import InitialModel
from finetune.report.schema import (
    CalibrationSummary,
    ClipAnswer,
    DataSummary,
    Environment,
    Epoch,
    Report,
    SplitReport,
    SplitSummary,
    TrainingReport,
)
from finetune.training.callbacks import clips_per_second
from hmdb.model.calibration import Calibration
from hmdb.model.loading import BUNDLED, LoadedModel

TOP = 5  # labels of a clip's prediction


def build(loaded: LoadedModel, data: DataSummary, predictions: Sequence[Predictions], **facts: Any) -> Report:
    """Builds the report of a checkpoint.

    Args:
        predictions: of each evaluated split, the headline split last.
        facts: the other fields of `Report`.
    """
    labels, calibration = loaded.labels, loaded.calibration
    splits: dict[str, Any] = {each.split: describe_split(each, labels, calibration) for each in predictions}
    return Report(
        model=loaded.checkpoint.name,
        revision=loaded.checkpoint.revision,
        model_type=loaded.network.config.model_type,
        clip_spec=loaded.clip_spec,
        classes=labels,
        data=data,
        eval_clips_per_second=predictions[-1].clips_per_second,
        machine=Environment.here(),
        **splits,
        **facts,
    )


def describe_data(
    splits: Splits,
    broken: Mapping[str, str],
    source: DataSource,
    *,
    added: Sequence[Sample] = (),
    leaks: LeakReport | None = None,
) -> DataSummary:
    """Summarises the data of a report.

    Args:
        broken: clip -> reason, of the unreadable clips.
        added: training clips that are in no split.
        leaks: leakage between the splits, if it was examined.
    """
    usual = DataSource()
    options = {
        name: value
        for name, value in vars(source).items()
        if name not in ("location", "more") and value != getattr(usual, name)
    }
    counts = {split: len(samples) for split, samples in splits.by_name().items()}
    unlabelled = sum(sample.label == NO_LABEL for sample in added)
    return DataSummary(
        name=splits.data,
        on_hub=splits.on_hub,
        split=SplitSummary(origin=splits.origin, hash=splits.hash, **counts),
        location=f"hub:{splits.data}" if splits.on_hub else Path(source.location).resolve().name,
        options=options,
        broken=dict(broken),
        unlabelled=unlabelled,
        more=len(added) - unlabelled,
        more_from=Path(source.more).resolve().name if source.more else None,
        leaks=leaks,
    )


def describe_split(predictions: Predictions, labels: Sequence[str], calibration: Calibration) -> SplitReport:
    """Computes the figures of one split."""
    logits, classes = predictions.logits, predictions.classes
    counts = confusion(logits, classes)
    plain, calibrated = (each.probabilities(logits) for each in (Calibration(), calibration))
    best = np.argsort(-calibrated, axis=1, kind="stable")[:, :TOP]
    return SplitReport(
        **vars(accuracy(predictions)),
        per_class=per_class(logits, classes, labels),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        confused_pairs=confused_pairs(counts, labels),
        calibration=CalibrationSummary(
            temperature=calibration.temperature,
            threshold=calibration.threshold,
            expected_error=expected_calibration_error(calibrated, classes),
            expected_error_without_temperature=expected_calibration_error(plain, classes),
            chance_error=chance_calibration_error(calibrated),
        ),
        answers=tuple(
            ClipAnswer(
                clip=name,
                label=labels[true],
                top=tuple((labels[index], round(float(probabilities[index]), 4)) for index in order),
            )
            for name, true, order, probabilities in zip(predictions.names, classes, best, calibrated, strict=True)
        ),
    )


def describe_training(
    recipe: Recipe,
    name: str,
    distillation: DistillationConfig | None,
    initial: InitialModel,
    state: TrainerState,
    num_clips: int,
) -> TrainingReport:
    """Summarises a run.

    Args:
        recipe, name: of the run.
        state: of the Trainer, at the end.
        num_clips: in an epoch.
    """
    epochs = tuple(
        Epoch(epoch=row["epoch"], top1=row["eval_top1"], top5=row["eval_top5"], loss=row["eval_cross_entropy"])
        for row in state.log_history
        if "eval_top1" in row
    )
    return TrainingReport(
        recipe_name=name,
        recipe=recipe if recipe.inflate else replace(recipe, init=_public_init(recipe.init, initial)),
        distillation=distillation.public() if distillation else None,
        epochs=epochs,
        best_epoch=next(row.epoch for row in epochs if row.top1 == state.best_metric),
        clips_per_second=clips_per_second(state.log_history, num_clips),
    )


def _public_init(init: str, initial: InitialModel) -> str:
    """The init that others can type: the name of a folder without its path, except for the bundled checkpoint."""
    return "hmdb/bundled" if Path(init).resolve() == BUNDLED else initial.base or init


def accuracy_without_leaks(test: Predictions, leaks: LeakReport) -> Accuracy | None:
    """The figures of the test clips that resemble no train or val clip; None if these are none or all."""
    leaked = {leak.clip for leak in leaks.found if leak.split == "test"}
    return accuracy(test.without(leaked)) if 0 < len(leaked) < len(test.names) else None
