"""The Hugging Face Trainer, on clips."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedModel, PrinterCallback, Trainer

from finetune.config.distillation import DistillationConfig
from finetune.config.recipe import Recipe
from finetune.data.augment import ClipAugmentation, MixupCutmix, color_jitter
from finetune.data.dataset import ClipDataset
from finetune.distillation.image_teacher import ProjectionHead
from finetune.distillation.loss import loss_with_teacher
from finetune.evaluation.metrics import Predictions, clearly_better
from finetune.models.layerwise import scale_rates
from finetune.run_dir import CHECKPOINT_PREFIX
from finetune.training.callbacks import EmaCallback, LogProgress
from hmdb.errors import ModelError
from hmdb.model.hub import Checkpoint
from hmdb.model.loading import load_network
from hmdb.model.preprocess import PixelSpec, normalize

log = logging.getLogger(__name__)


PROJECTION_RATE = 1e-3  # at the peak of the schedule; a projection head is new, whatever the student starts from
TRAINING_FILE = "training.safetensors"  # of a checkpoint whose model.safetensors is not all that training goes on with


class ClipTrainer(Trainer):
    """The Hugging Face Trainer on uint8 clips: augmented and normalised on the device.

    With an exponential moving average, what is evaluated and saved are the averaged weights.

    Args:
        class_weights: float32 (number of classes,), how much each counts in training; None for all alike.
        projection: through which its features are compared with an image teacher's; None without such a teacher.
    """

    loss_is_scaled_for_ga = False  # the loss is the mean over a batch

    def __init__(
        self,
        *,
        pixel_spec: PixelSpec,
        recipe: Recipe = Recipe(),  # noqa: B008 - frozen
        class_weights: torch.Tensor | None = None,
        distillation: DistillationConfig | None = None,
        projection: ProjectionHead | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.model_accepts_loss_kwargs = False
        if self.args.disable_tqdm:
            self.remove_callback(PrinterCallback)  # it prints dictionaries
            self.add_callback(LogProgress())
        self._pixel_spec = pixel_spec
        self._recipe = recipe
        self._class_weights = class_weights
        self._distillation = distillation
        self._projection = projection.to(self.args.device) if projection else None
        self._ema: AveragedModel | None = None
        if recipe.ema:
            average = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]
            self._ema = AveragedModel(self._network, multi_avg_fn=average)
            self.add_callback(EmaCallback(self._ema))

    @property
    def _network(self) -> PreTrainedModel:
        network: PreTrainedModel = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        return network

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self._recipe.layer_decay < 1:
            scale_rates(optimizer, self._network, self._recipe.layer_decay)
        if self._projection:
            head = {"params": list(self._projection.parameters()), "lr": PROJECTION_RATE, "weight_decay": 0.0}
            optimizer.add_param_group(head)
        return optimizer

    def compute_loss(
        self, model: torch.nn.Module, inputs: Mapping[str, Any], return_outputs: bool = False, *_: Any, **__: Any
    ) -> Any:
        """The loss of a batch; in training with augmentation, smoothed labels and the teacher."""
        pixels, classes = inputs["pixel_values"], inputs["labels"]  # uint8 (B, T, H, W, 3), int (B,)
        smoothing = self._recipe.label_smoothing if model.training else 0.0
        view = mixture = None
        if model.training and self._recipe.augment != "none":
            view = ClipAugmentation.draw(*pixels.shape[:2], kept=self._recipe.frames or None, device=pixels.device)
            pixels = color_jitter(view.of(pixels, self._pixel_spec.shape))
        if model.training and self._recipe.mixup:
            mixture = MixupCutmix.draw(len(pixels), self._pixel_spec.shape, self._recipe.mixup, pixels.device)
            pixels = mixture.of(pixels)
        with _frames(self._network, pixels.shape[1]):
            taught = self._projection is not None and view is not None
            outputs = model(pixel_values=normalize(pixels, self._pixel_spec), output_hidden_states=taught)
        targets, feature_loss = inputs.get("targets"), 0.0
        if self._distillation and self._projection and view is not None:
            body: Any = self._network.base_model
            tokens = body.layernorm(outputs.hidden_states[-1])
            feature_loss, targets = self._projection(tokens, inputs["maps"], view)
            outputs.hidden_states = None
        if self._distillation and targets is not None and model.training:
            loss = loss_with_teacher(outputs.logits, classes, targets, self._distillation, smoothing)
            loss = loss + self._distillation.features * feature_loss
        else:
            loss = self._cross_entropy(outputs.logits, classes, smoothing, weighted=model.training)
        if mixture:
            other = self._cross_entropy(outputs.logits, classes[mixture.partner], smoothing, weighted=True)
            loss = mixture.share * loss + (1 - mixture.share) * other
        return (loss, outputs) if return_outputs else loss

    def _cross_entropy(
        self, logits: torch.Tensor, classes: torch.Tensor, smoothing: float, *, weighted: bool
    ) -> torch.Tensor:
        weights = self._class_weights.to(logits) if weighted and self._class_weights is not None else None
        return functional.cross_entropy(logits, classes, weight=weights, label_smoothing=smoothing)

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **options)
        if not loss.isfinite():
            raise FloatingPointError(f"The loss is {loss.item():g} at step {self.state.global_step + 1}")
        return loss

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        """Before the first step, too, where the head was fitted: then those weights are a candidate of their own."""
        metrics: dict[str, float] = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)
        if skip_scheduler:
            self._determine_best_metric(metrics, trial)
            self.state.best_model_checkpoint = str(Path(str(self.args.output_dir)) / f"{CHECKPOINT_PREFIX}0")
            self._save_checkpoint(self._network, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """What was evaluated before the first step, a fitted head, stays the best until an epoch is clearly better."""
        state = self.state
        fitted = state.best_global_step == 0 and state.global_step > 0
        clips = len(self.eval_dataset)  # type: ignore[arg-type]
        if fitted and not clearly_better(metrics["eval_top1"], float(state.best_metric or 0), clips):
            return False
        return bool(super()._determine_best_metric(metrics, trial))

    def evaluation_loop(self, *arguments: Any, **options: Any) -> Any:
        with self._ema_in_place():
            return super().evaluation_loop(*arguments, **options)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self._ema or self._projection:
            folder = Path(output_dir or str(self.args.output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            save_file(self._training_state(), folder / TRAINING_FILE)
        with self._ema_in_place():
            super()._save(output_dir, self._network.state_dict() if self._ema else state_dict)

    def _training_state(self) -> dict[str, torch.Tensor]:
        modules = {"network": self._network, "projection": self._projection}
        return {
            f"{name}.{key}": value.detach().cpu().contiguous()
            for name, module in modules.items()
            if module is not None
            for key, value in module.state_dict().items()
        }

    @contextmanager
    def _ema_in_place(self) -> Iterator[None]:
        """For as long as this lasts the network has the averaged weights."""
        if self._ema is None or not self._ema.n_averaged:
            yield
            return
        network = self._network
        own = {key: value.clone() for key, value in network.state_dict().items()}
        network.load_state_dict(self._ema.module.state_dict())
        try:
            yield
        finally:
            network.load_state_dict(own)

    # The Trainer reads the file's tensors by name, and those of a ViViT have other names on disk than in
    # memory: most of its weights would stay as they are, with no more than a warning.
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        checkpoint = Path(resume_from_checkpoint)
        self._load(checkpoint)
        if not (checkpoint / TRAINING_FILE).exists():
            return
        if self._ema:
            self._ema.module.load_state_dict(self._network.state_dict())
            self._ema.n_averaged.fill_(1)
        saved = load_file(checkpoint / TRAINING_FILE)
        for name, module in (("network", self._network), ("projection", self._projection)):
            if module is not None:
                module.load_state_dict(
                    {key.removeprefix(f"{name}."): value for key, value in saved.items() if key.startswith(f"{name}.")}
                )

    def _load_best_model(self) -> None:
        self._load(Path(str(self.state.best_model_checkpoint)))
        self._ema = None  # from now on the network has the weights that are kept

    def _load(self, checkpoint: Path) -> None:
        saved, missing = load_network(Checkpoint(folder=checkpoint, name=checkpoint.name))
        if missing:
            raise ModelError(f"{checkpoint} lacks weights: {', '.join(sorted(missing)[:3])}, ...")
        self._network.load_state_dict(saved.state_dict())

    def outcome(self, split: str, dataset: ClipDataset) -> Predictions:
        """The answers on a split, each clip once, whatever the number of processes."""
        began = time.monotonic()
        found = self.predict(dataset)
        return Predictions(
            split=split,
            names=tuple(sample.name for sample in dataset.samples),
            logits=np.asarray(found.predictions, dtype=np.float32),
            classes=np.asarray(found.label_ids),
            seconds=time.monotonic() - began,
        )


@contextmanager
def _frames(network: PreTrainedModel, frames: int) -> Iterator[None]:
    """Clips of another length for once: a TimeSformer's layers take theirs from the configuration."""
    config = network.config
    usual = config.num_frames
    config.num_frames = frames
    try:
        yield
    finally:
        config.num_frames = usual
