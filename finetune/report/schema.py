"""What came of a checkpoint on the data: the contents of report.json, and the only place that writes and reads it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.recipe import SCRATCH_PREFIX, Recipe
from finetune.data.leakage import LeakReport
from finetune.data.splits import Splits
from finetune.evaluation.calibrate import expected_calibration_error
from finetune.evaluation.metrics import (
    Accuracy,
    ClassScore,
    Confusion,
    Predictions,
    confused_pairs,
    confusion,
    headline_split,
    per_class,
)
from finetune.evaluation.precision import PrecisionComparison
from finetune.run_dir import REPORT_FILE
from hmdb.clips.clip import ClipSpec
from hmdb.errors import DataError
from hmdb.machine import num_processes
from hmdb.model.calibration import Calibration

FORMAT = 2  # of report.json
TOP = 5
LIBRARIES = ("torch", "transformers", "accelerate", "numpy", "scikit-learn", "huggingface-hub")


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """How train, val and test came about, and the number of their clips."""

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
        location, options: as they are typed, without the folders above: which clips, and how the splits were made.
        broken: clip -> reason, of those that were left out.
        unlabelled, more: clips beside the splits, for training alone.
        more_from: the name of their folder.
        leaks: what the splits share; None where nobody has looked.
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
    """The calibration of a checkpoint, and the expected calibration error with it and without, 0..1."""

    temperature: float
    threshold: float | None
    expected_error: float
    expected_error_without_temperature: float

    @property
    def fitted(self) -> bool:
        """Whether it was fitted to val clips, of which there may have been too few."""
        return self.temperature != 1 or self.threshold is not None


@dataclass(frozen=True, kw_only=True)
class ClipAnswer:
    """What was answered on a clip.

    Attributes:
        label: the right one.
        top: the likeliest labels and their probabilities, at most 5, the likeliest first.
    """

    clip: str
    label: str
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class SplitReport(Accuracy):
    """All that a report says of one split.

    Attributes:
        confusion: (number of classes, same): row the right class, column the answer.
    """

    per_class: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    confused_pairs: tuple[Confusion, ...] = ()
    calibration: CalibrationSummary | None = None
    answers: tuple[ClipAnswer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The figures of an epoch on the val clips."""

    epoch: float
    top1: float
    top5: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """How a checkpoint was trained.

    Attributes:
        recipe: as it was run: with the precision that the device has, and the name of the base as init.
        epochs: in order; a fitted head, which was evaluated before the first, is epoch 0.
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
    def kept(self) -> str:
        """Whose weights were kept, and why, in words."""
        if not self.best_epoch:
            return "the fitted head was kept, as no epoch was clearly better"
        return f"the best by val top-1, epoch {self.best_epoch:g}, was kept"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What it ran on; memory in bytes."""

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
    """What a checkpoint is and what came of it.

    Attributes:
        base, base_revision, base_licence: what the weights come from; None for random numbers, or where it
            does not say.
        val, test, all: the splits that were evaluated; "all" where a data set was not divided.
        test_alone: on the test clips that resemble no other; None where none or all of them do.
        training: None where a checkpoint was evaluated alone.
        precision: beside float32, where another precision was evaluated.
        views: of each video, moments x crops, whose answers were averaged.
        notes: what its user should know of the checkpoint, a sentence each.
        seconds: that all of it took; of a run that was cut off without those after its last checkpoint.
    """

    model: str
    model_type: str
    base: str | None
    base_revision: str | None
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
    precision: PrecisionComparison | None = None
    views: str = "1x1"
    notes: tuple[str, ...] = ()
    eval_clips_per_second: float
    seconds: float
    machine: Environment
    format: int = FORMAT

    @property
    def evaluated(self) -> dict[str, SplitReport]:
        """The splits that were evaluated, by name; the one that counts is the last."""
        found = {"all": self.all, "val": self.val, "test": self.test}
        return {name: split for name, split in found.items() if split}

    @property
    def judged(self) -> tuple[str, SplitReport]:
        """The split that counts: test where there is one."""
        return list(self.evaluated.items())[-1]

    @property
    def tells_top5(self) -> bool:
        """Whether top-5 says anything: of at most five classes it is always 100 %."""
        return len(self.classes) > 5

    @property
    def warnings(self) -> list[str]:
        """What the user should know of the figures, a sentence each."""
        found, chance = list(self.notes), 1 / len(self.classes)
        if self.val and self.val.top1_interval[0] <= chance:
            made = self.training
            in_vain = made and (made.recipe_name == "small" or made.recipe.init.startswith(SCRATCH_PREFIX))
            found.append(
                f"On the {self.val.clips} val clips the model may be no better than chance ({chance:.1%}): it needs "
                f"more clips{' or' if in_vain else ', --recipe small, or'} other weights to start from (--init)."
            )
        return found


def describe(splits: Splits, broken: Mapping[str, str], source: DataSource, **rest: Any) -> DataSummary:
    """The data of a report; `rest` as for `DataSummary`."""
    usual = DataSource()
    options = {
        name: value
        for name, value in vars(source).items()
        if name not in ("location", "more") and value != getattr(usual, name)
    }
    location = splits.data if splits.on_hub else Path(source.location).resolve().name
    rest |= {"location": f"hub:{location}" if splits.on_hub else location, "options": options}
    counts = {split: len(samples) for split, samples in splits.by_name().items()}
    split = SplitSummary(origin=splits.origin, hash=splits.hash, **counts)
    return DataSummary(name=splits.data, on_hub=splits.on_hub, split=split, broken=dict(broken), **rest)


def details(outcome: Predictions, labels: Sequence[str], calibration: Calibration) -> SplitReport:
    """All that a report says of one split."""
    counts = confusion(outcome.logits, outcome.classes)
    plain, calibrated = (each.probabilities(outcome.logits) for each in (Calibration(), calibration))
    best = np.argsort(-calibrated, axis=1, kind="stable")[:, :TOP]
    return SplitReport(
        **vars(headline_split(outcome)),
        per_class=per_class(outcome.logits, outcome.classes, labels),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        confused_pairs=confused_pairs(counts, labels),
        calibration=CalibrationSummary(
            temperature=calibration.temperature,
            threshold=calibration.threshold,
            expected_error=expected_calibration_error(calibrated, outcome.classes),
            expected_error_without_temperature=expected_calibration_error(plain, outcome.classes),
        ),
        answers=tuple(
            ClipAnswer(
                clip=name,
                label=labels[true],
                top=tuple((labels[index], round(float(probabilities[index]), 4)) for index in order),
            )
            for name, true, order, probabilities in zip(outcome.names, outcome.classes, best, calibrated, strict=True)
        ),
    )


_ADAPTER = TypeAdapter(Report)


def write(report: Report, folder: Path) -> None:
    """Writes report.json."""
    (folder / REPORT_FILE).write_bytes(_ADAPTER.dump_json(report, indent=2) + b"\n")


def read(folder: Path) -> Report | None:
    """The report of a folder; None where there is none.

    Raises:
        DataError: report.json is not one that this version can read.
    """
    path = folder / REPORT_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return _ADAPTER.validate_python(values if "format" in values else _from_format_1(values))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{path} is not a report that this version reads: {place}: {first['msg']}.") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is not a report that this version reads: {error!r}.") from error


def _from_format_1(old: dict[str, Any]) -> dict[str, Any]:
    """The first format was flat."""
    training = None
    if old.get("recipe"):
        recipe = dict(old["recipe"])
        if "averaging" in recipe:
            recipe["ema"] = recipe.pop("averaging")
        plan = old.get("distillation")
        training = {
            **{name: old[name] for name in ("recipe_name", "epochs", "best_epoch")},
            "recipe": recipe,
            "distillation": plan and plan | {"unlabelled": plan["unlabelled"] or ""},
            "clips_per_second": old["speed"]["train_clips_per_second"],
        }
    compared = old.get("arithmetic")
    return old | {
        "training": training,
        "precision": compared and compared | {"other": compared[compared["dtype"]]},
        "eval_clips_per_second": old["speed"]["eval_clips_per_second"],
        "seconds": old["speed"]["seconds"],
        "machine": {name: old[name] for name in ("device", "processes", "peak_gpu_memory", "versions")},
        "data": old["data"] | {"leaks": _leaks_of_format_1(old["data"].get("leaks"))},
    }


def _leaks_of_format_1(old: dict[str, Any] | None) -> dict[str, Any] | None:
    def renamed(leak: dict[str, str]) -> dict[str, str]:
        return {name.replace("part", "split"): value for name, value in leak.items()}

    return old and old | {"found": [renamed(leak) for leak in old["found"]]}
