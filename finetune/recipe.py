"""What one training run does, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hmdb.clip import EXTENSIONS, SAMPLERS
from hmdb.errors import DataError
from hmdb.model import KINETICS_400

Pixels = Literal["paper", "checkpoint"]
Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["linear", "cosine", "constant"]
Augmentation = Literal["none", "clips"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a run; the defaults are the paper's best (table 1, row 1).

    Attributes:
        init: where the weights start: a Hub id, a folder, or `scratch:NAME` for a small new model.
        sampler: how clips are taken: uniform, equidistant, random or centered.
        extension: whether a short video is extended before or after it is sampled.
        pixels: squash and ImageNet statistics as in the paper, or what the checkpoint was trained on.
        augment: what training does to its clips: nothing, or crops, mirroring, reversal and brightness.
        optimizer: sgd, adam or adamw.
        learning_rate: at the peak of the schedule.
        momentum: of sgd.
        weight_decay: L2 for sgd and adam, decoupled for adamw.
        schedule: linear or cosine decay to 0, or constant.
        warmup: share of all steps over which the learning rate rises from 0.
        label_smoothing: share of the target spread over all classes.
        batch_size: clips in a step, on each device.
        accumulation: steps whose gradients are summed before the weights change.
        epochs: passes over the training clips.
        patience: epochs without a better val top-1 before training stops; 0 for never.
        precision: fp32, bf16 or fp16 arithmetic.
        seed: of weights, order, augmentation and the random sampler.
    """

    init: str = KINETICS_400
    sampler: str = "uniform"
    extension: str = "before"
    pixels: Pixels = "paper"
    augment: Augmentation = "none"
    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.0035
    momentum: float = 0.9
    weight_decay: float = 0.003
    schedule: Schedule = "linear"
    warmup: float = 0.0
    label_smoothing: float = 0.0
    batch_size: int = 8
    accumulation: int = 1
    epochs: int = 8
    patience: int = 4
    precision: Precision = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise DataError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}.")
        for name in ("batch_size", "accumulation", "epochs"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("warmup", "label_smoothing", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise DataError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}.")
        if self.learning_rate <= 0:
            raise DataError(f"learning_rate must be above 0, not {self.learning_rate}.")


CHOICES: dict[str, tuple[str, ...]] = {
    "sampler": SAMPLERS,
    "extension": EXTENSIONS,
    "pixels": get_args(Pixels),
    "augment": get_args(Augmentation),
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
}
