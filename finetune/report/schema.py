"""The contents of report.json: a checkpoint, its data, its training and its figures."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

import torch

from finetune.config.distillation import DistillationConfig
from finetune.config.recipe import SCRATCH_PREFIX, Recipe
from finetune.data.leakage import LeakReport
from finetune.evaluation.metrics import Accuracy, ClassScore, Confusion
from finetune.evaluation.ood import OodFigures
from finetune.evaluation.precision import PrecisionComparison
from hmdb.clips.clip import ClipSpec
from hmdb.machine import num_processes

LIBRARIES = ("torch", "transformers", "accelerate", "numpy", "scikit-learn", "huggingface-hub")


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """The origin of the train, val and test splits, and their numbers of clips."""

    origin: str
    hash: str
    train: int
    val: int
    test: int


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """The data of a report.

    Attributes:
        name: a folder's, a table's or an id on the Hub.
        location, options: the command-line options of data and splits, without the folders above the data.
        broken: clip -> reason, of the unreadable clips that were left out.
        unlabelled, more: numbers of further clips for training only, without and with labels.
        more_from: the name of the folder of the labelled ones.
        leaks: leakage between the splits; None if it was not examined.
    """

    name: str
    on_hub: bool
    split: SplitSummary
    location: str = ""
    options: dict[str, str | int | float | bool] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    unlabelled: int = 0
    more: int = 0
    more_from: str | None = None
    leaks: LeakReport | None = None


@dataclass(frozen=True, kw_only=True)
class CalibrationSummary:
    """The calibration of a checkpoint, and the expected calibration error with and without it, 0..1.

    Attributes:
        chance_error: the error that a perfectly calibrated network would show; None in older reports.
    """

    temperature: float
    threshold: float | None
    expected_error: float
    expected_error_without_temperature: float
    chance_error: float | None = None

    @property
    def fitted(self) -> bool:
        """True if it was fitted, for which there have to be enough val clips."""
        return self.temperature != 1 or self.threshold is not None


@dataclass(frozen=True, kw_only=True)
class ClipAnswer:
    """The prediction for a clip.

    Attributes:
        label: the true one.
        top: the labels with the highest probabilities and these, at most 5, the highest first.
    """

    clip: str
    label: str
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class SplitReport(Accuracy):
    """The figures of one split.

    Attributes:
        confusion: (number of classes, same): row the true class, column the predicted one.
    """

    per_class: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    confused_pairs: tuple[Confusion, ...] = ()
    calibration: CalibrationSummary | None = None
    answers: tuple[ClipAnswer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The val figures after an epoch."""

    epoch: float
    top1: float
    top5: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """The training of a checkpoint.

    Attributes:
        recipe: the settings of the run, with the precision that was used and the public name of the base as init.
        epochs: in order; epoch 0 is the linear probe, evaluated before the first step.
    """

    recipe_name: str
    recipe: Recipe
    distillation: DistillationConfig | None
    epochs: tuple[Epoch, ...]
    best_epoch: float
    clips_per_second: float

    @property
    def epochs_trained(self) -> int:
        return sum(row.epoch > 0 for row in self.epochs)

    @property
    def selected(self) -> str:
        """The selected epoch and the reason for it, in words."""
        if not self.best_epoch:
            return "the linear probe was selected, as no epoch was clearly better"
        return f"epoch {self.best_epoch:g}, the best by val top-1, was selected"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The hardware and libraries of a run; memory in bytes."""

    device: str
    processes: int
    peak_gpu_memory: int | None
    versions: dict[str, str]

    @classmethod
    def here(cls) -> Environment:
        on_gpu = torch.cuda.is_available()
        return cls(
            device=torch.cuda.get_device_name() if on_gpu else f"CPU, {os.cpu_count()} cores",
            processes=num_processes(),
            peak_gpu_memory=torch.cuda.max_memory_allocated() if on_gpu else None,
            versions={"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """A checkpoint and its figures.

    Attributes:
        model, revision: the checkpoint, and its commit if it is on the Hub.
        base, base_revision, base_licence: the checkpoint that training started from; None for random weights, or if
            unknown.
        val, test, all: the evaluated splits; "all" is a data set without splits.
        test_alone: the figures of the test clips that resemble no train or val clip; None if these are none or all.
        training: None for a checkpoint that was only evaluated.
        ood: what the out-of-distribution detector is expected to accept; None if training wrote none.
        precision: the comparison with float32 of an evaluation in another precision.
        views: test-time views of each video, moments x crops, whose probabilities were averaged.
        notes: caveats about the checkpoint, a sentence each.
        seconds: duration of the whole; for a resumed run without the time after the last checkpoint before.
    """

    model: str
    revision: str | None = None
    model_type: str
    base: str | None = None
    base_revision: str | None = None
    base_licence: str | None = None
    clip_spec: ClipSpec
    parameters: int
    classes: tuple[str, ...]
    data: DataSummary
    val: SplitReport | None = None
    test: SplitReport | None = None
    all: SplitReport | None = None
    test_alone: Accuracy | None = None
    training: TrainingReport | None = None
    ood: OodFigures | None = None
    precision: PrecisionComparison | None = None
    views: str = "1x1"
    notes: tuple[str, ...] = ()
    eval_clips_per_second: float
    seconds: float
    machine: Environment
    format: Literal[2] = 2

    @property
    def evaluated(self) -> dict[str, SplitReport]:
        """The evaluated splits by name, the headline split last."""
        splits = {"all": self.all, "val": self.val, "test": self.test}
        return {name: split for name, split in splits.items() if split}

    @property
    def headline_split(self) -> tuple[str, SplitReport]:
        """The name and figures of the split that is reported first: test if it was evaluated, else val."""
        return list(self.evaluated.items())[-1]

    @property
    def tells_top5(self) -> bool:
        """True if top-5 is informative: for at most five classes it is always 100 %."""
        return len(self.classes) > 5

    @property
    def warnings(self) -> list[str]:
        """Caveats about the checkpoint and its figures, a sentence each."""
        warnings, chance = list(self.notes), 1 / len(self.classes)
        if self.val and self.val.top1_interval[0] <= chance:
            training = self.training
            in_vain = training and (training.recipe_name == "small" or training.recipe.init.startswith(SCRATCH_PREFIX))
            warnings.append(
                f"On the {self.val.clips} val clips the model may be no better than chance ({chance:.1%}): it needs "
                f"more clips{' or' if in_vain else ', --recipe small, or'} other weights to start from (--init)."
            )
        return warnings
