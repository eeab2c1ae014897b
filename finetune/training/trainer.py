"""Extends the Hugging Face Trainer to clips: augmentation, class weights, EMA, and the linear probe as a candidate."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import PreTrainedModel, PrinterCallback, Trainer

from finetune.config.recipe import Recipe
from finetune.data.augment import ClipAugmentation, MixupCutmix, color_jitter
from finetune.evaluation.metrics import clearly_better
from finetune.models.layerwise import scale_rates
from finetune.run_dir import CHECKPOINT_PREFIX
from finetune.training.callbacks import EmaCallback, LogProgress
from hmdb.errors import ModelError
from hmdb.model.hub import Checkpoint
from hmdb.model.loading import load_network
from hmdb.model.preprocess import PixelSpec, normalize

log = logging.getLogger(__name__)


TRAINING_FILE = "training.safetensors"  # the tensors of a checkpoint that only resuming needs


class ClipTrainer(Trainer):
    """The Hugging Face Trainer on uint8 clips, which it augments and normalises on the device.

    With an exponential moving average, the averaged weights are the ones that are evaluated and saved.

    Args:
        pixel_spec: normalises the pixels, and is saved with each checkpoint.
        class_weights: float32 (number of classes,), the weight of each class in the training loss; None for equal ones.

    Attributes:
        needs_hidden_states: the loss reads the hidden states of the network in training.
    """

    loss_is_scaled_for_ga = False  # the loss is the mean over a batch
    needs_hidden_states = False

    def __init__(
        self,
        *,
        pixel_spec: PixelSpec,
        recipe: Recipe = Recipe(),  # noqa: B008 - frozen
        class_weights: torch.Tensor | None = None,
        **options: Any,
    ) -> None:
        processor: Any = pixel_spec  # the Trainer calls its save_pretrained
        super().__init__(processing_class=processor, **options)
        self.model_accepts_loss_kwargs = False
        if self.args.disable_tqdm:
            self.remove_callback(PrinterCallback)  # it prints dictionaries
            self.add_callback(LogProgress())
        self._pixel_spec = pixel_spec
        self._recipe = recipe
        self._class_weights = class_weights
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
        return optimizer

    def compute_loss(
        self, model: torch.nn.Module, inputs: Mapping[str, Any], return_outputs: bool = False, *_: Any, **__: Any
    ) -> Any:
        """The loss of a batch, which is augmented and mixed in training."""
        pixels, classes = inputs["pixel_values"], inputs["labels"]  # uint8 (B, T, H, W, 3), int (B,)
        view = mixture = None
        if model.training and self._recipe.augment != "none":
            view = ClipAugmentation.draw(*pixels.shape[:2], kept=self._recipe.frames or None, device=pixels.device)
            pixels = color_jitter(view.of(pixels, self._pixel_spec.shape))
        if model.training and self._recipe.mixup:
            mixture = MixupCutmix.draw(len(pixels), self._pixel_spec.shape, self._recipe.mixup, pixels.device)
            pixels = mixture.of(pixels)
        with _num_frames(self._network, pixels.shape[1]):
            hidden = self.needs_hidden_states and model.training
            outputs = model(pixel_values=normalize(pixels, self._pixel_spec), output_hidden_states=hidden)
        loss = self.loss_of(outputs, inputs, view)
        if mixture:
            partners = {**inputs, "labels": classes[mixture.partner]}
            loss = mixture.share * loss + (1 - mixture.share) * self.loss_of(outputs, partners, view)
        return (loss, outputs) if return_outputs else loss

    def loss_of(self, outputs: Any, inputs: Mapping[str, Any], view: ClipAugmentation | None) -> torch.Tensor:
        """The cross-entropy with the labels, smoothed and weighted by class in training.

        Args:
            outputs: of the network.
            inputs: the batch, before augmentation.
            view: the augmentation of the batch; None for whole clips.
        """
        logits = outputs.logits
        if not self._network.training:
            return functional.cross_entropy(logits, inputs["labels"])
        weights = None if self._class_weights is None else self._class_weights.to(logits)
        smoothing = self._recipe.label_smoothing
        return functional.cross_entropy(logits, inputs["labels"], weight=weights, label_smoothing=smoothing)

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **options)
        if not loss.isfinite():
            raise FloatingPointError(f"The loss is {loss.item():g} at step {self.state.global_step + 1}")
        return loss

    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> dict[str, float]:
        """Evaluates; before the first step, saves the fitted head, which is a candidate for the best epoch."""
        metrics: dict[str, float] = super()._evaluate(trial, ignore_keys_for_eval, skip_scheduler)
        if skip_scheduler:
            self._determine_best_metric(metrics, trial)
            self.state.best_model_checkpoint = str(Path(str(self.args.output_dir)) / f"{CHECKPOINT_PREFIX}0")
            self._save_checkpoint(self._network, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Updates the best epoch; a fitted head stays the best until an epoch is clearly better."""
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
        if modules := self._training_state():
            folder = Path(output_dir or str(self.args.output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            state = {
                f"{name}.{key}": value.detach().cpu().contiguous()
                for name, module in modules.items()
                for key, value in module.state_dict().items()
            }
            save_file(state, folder / TRAINING_FILE)
        with self._ema_in_place():
            super()._save(output_dir, self._network.state_dict() if self._ema else state_dict)

    def _training_state(self) -> dict[str, torch.nn.Module]:
        """The modules that training goes on with and that model.safetensors does not hold, by name."""
        return {"network": self._network} if self._ema else {}

    @contextmanager
    def _ema_in_place(self) -> Iterator[None]:
        """Gives the network the averaged weights within the block."""
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
        for name, module in self._training_state().items():
            prefix = f"{name}."
            own = {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}
            module.load_state_dict(own)

    def _load_best_model(self) -> None:
        self._load(Path(str(self.state.best_model_checkpoint)))
        self._ema = None  # the network has the selected weights from now on

    def _load(self, checkpoint: Path) -> None:
        saved, missing = load_network(Checkpoint(folder=checkpoint, name=checkpoint.name))
        if missing:
            raise ModelError(f"{checkpoint} lacks weights: {', '.join(sorted(missing)[:3])}, ...")
        self._network.load_state_dict(saved.state_dict())


@contextmanager
def _num_frames(network: PreTrainedModel, frames: int) -> Iterator[None]:
    """Sets the clip length within the block; a TimeSformer's layers read it from the configuration."""
    config = network.config
    usual = config.num_frames
    config.num_frames = frames
    try:
        yield
    finally:
        config.num_frames = usual
