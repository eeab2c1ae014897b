from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from finetune.config.recipe import Recipe
from finetune.data.augment import MixupCutmix
from finetune.models.initial import load_initial
from finetune.training.arguments import training_arguments
from finetune.training.callbacks import EmaCallback
from finetune.training.trainer import ClipTrainer
from hmdb.model.preprocess import normalize

CLASSES = ("circle", "square", "disc")


def trainer(recipe: Recipe, folder: Path, class_weights: torch.Tensor | None = None) -> ClipTrainer:
    torch.manual_seed(0)
    tiny = load_initial("scratch:timesformer-tiny", CLASSES, sampler="equidistant", extension=None, paper_pixels=True)
    return ClipTrainer(
        pixel_spec=tiny.pixel_spec,
        recipe=recipe,
        class_weights=class_weights,
        model=tiny.network,
        args=training_arguments(recipe, folder),
        eval_dataset=[],
    )


def batch() -> dict[str, torch.Tensor]:
    pixels = torch.randint(0, 256, (3, 8, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return {"pixel_values": pixels, "labels": torch.tensor([0, 1, 2])}


def test_the_loss_of_mixed_clips_mixes_the_losses_of_both_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    mix = MixupCutmix.draw(3, (32, 32), 0.8, torch.device("cpu"))
    monkeypatch.setattr(MixupCutmix, "draw", lambda *_: mix)
    clips = batch()
    training = trainer(Recipe(mixup=0.8), tmp_path)
    network: Any = training.model
    loss, outputs = training.compute_loss(network.train(), clips, return_outputs=True)
    expected_logits = network(pixel_values=normalize(mix.of(clips["pixel_values"]), training._pixel_spec)).logits
    torch.testing.assert_close(outputs.logits, expected_logits)
    own = functional.cross_entropy(outputs.logits, clips["labels"])
    partners = functional.cross_entropy(outputs.logits, clips["labels"][mix.partner])
    assert 0.1 < float(mix.share) < 0.9
    assert abs(own - partners) > 1e-3
    torch.testing.assert_close(loss, mix.share * own + (1 - mix.share) * partners)


def test_smoothing_and_class_weights_are_of_training_alone(tmp_path: Path) -> None:
    weights = torch.tensor([0.5, 1.0, 2.0])
    training = trainer(Recipe(label_smoothing=0.1), tmp_path, weights)
    network: Any = training.model
    clips = batch()
    loss, outputs = training.compute_loss(network.train(), clips, return_outputs=True)
    expected = functional.cross_entropy(outputs.logits, clips["labels"], weight=weights, label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)
    loss, outputs = training.compute_loss(network.eval(), clips, return_outputs=True)
    torch.testing.assert_close(loss, functional.cross_entropy(outputs.logits, clips["labels"]))


def test_the_average_of_the_weights_is_weighted_by_the_decay(tmp_path: Path) -> None:
    training = trainer(Recipe(ema=0.9), tmp_path)
    (callback,) = (each for each in training.callback_handler.callbacks if isinstance(each, EmaCallback))
    network: Any = training.model
    bias = network.classifier.bias
    for value in (1.0, 2.0, 4.0):
        with torch.no_grad():
            bias.fill_(value)
        callback.on_step_end(training.args, None, None, model=network)
    with training._ema_in_place():
        averaged = bias.clone()
    # the first step is taken as it is: 0.9 (0.9 * 1 + 0.1 * 2) + 0.1 * 4
    torch.testing.assert_close(averaged, torch.full_like(averaged, 1.39))
    torch.testing.assert_close(bias, torch.full_like(bias, 4.0))
