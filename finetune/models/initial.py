"""Loads the network that training starts from: a checkpoint with a new head, or a new network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import CardData, ModelCard, model_info
from transformers import (
    AutoModelForVideoClassification,
    PreTrainedModel,
    TimesformerConfig,
    VideoMAEConfig,
    VivitConfig,
)

from finetune.config.recipe import SCRATCH_PREFIX
from finetune.models.finite import refuse_non_finite
from finetune.models.inflate import inflate
from hmdb.clips.clip import ClipSpec
from hmdb.errors import DataError, ModelError
from hmdb.model.families import FAMILIES
from hmdb.model.hub import HUB_SECONDS, Checkpoint, HubUnreachableError, resolve_checkpoint
from hmdb.model.loading import BUNDLED, load_network
from hmdb.model.ood import OOD_KEY
from hmdb.model.preprocess import PixelSpec
from hmdb.model.validation import read_json, read_pixel_spec


def _sizes(*, hidden: int, layers: int, heads: int, image: int, patch: int = 16) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": image,
        "patch_size": patch,
    }


CARD_FILE = "README.md"  # of a checkpoint; it may state the licence

log = logging.getLogger(__name__)

SCRATCH: dict[str, TimesformerConfig | VivitConfig | VideoMAEConfig] = {
    "timesformer-tiny": TimesformerConfig(**_sizes(hidden=32, layers=2, heads=2, image=32)),
    "timesformer-small": TimesformerConfig(**_sizes(hidden=192, layers=8, heads=3, image=112)),
    "timesformer-compact": TimesformerConfig(
        **_sizes(hidden=384, layers=10, heads=6, image=112, patch=14) | {"intermediate_size": 1408}
    ),  # of DINOv2-small's width and patches; 48 MB in float16
    "timesformer-base": TimesformerConfig(),
    "vivit-tiny": VivitConfig(**_sizes(hidden=32, layers=2, heads=2, image=32), num_frames=8, tubelet_size=[2, 16, 16]),
    "vivit-small": VivitConfig(
        **_sizes(hidden=192, layers=6, heads=3, image=112), num_frames=16, tubelet_size=[2, 16, 16]
    ),
    "vivit-base": VivitConfig(),
    "videomae-tiny": VideoMAEConfig(**_sizes(hidden=32, layers=2, heads=2, image=32), num_frames=8),
    "videomae-small": VideoMAEConfig(**_sizes(hidden=192, layers=6, heads=3, image=112)),
    "videomae-base": VideoMAEConfig(),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class InitialModel:
    """A network to train, with the sampling and preprocessing of its clips.

    Attributes:
        network: with a logit for each class.
        clip_spec, pixel_spec: will be saved with it.
        base: the checkpoint of the weights, by its Hub id or the name of its folder; None for a new network.
        revision, licence: of the base, if known.
    """

    network: PreTrainedModel
    clip_spec: ClipSpec
    pixel_spec: PixelSpec
    base: str | None
    revision: str | None
    licence: str | None


def load_initial(
    init: str,
    classes: Sequence[str],
    *,
    sampler: str | None,
    extension: str | None,
    paper_pixels: bool,
    inflated: str = "",
) -> InitialModel:
    """Loads the network that `init` names, with one logit per class.

    Args:
        init: a Hub id, a folder, or `scratch:NAME`.
        classes: the class names in the order of their ids.
        sampler, extension: of the clips; None for those of the family.
        paper_pixels: squash frames and use ImageNet statistics, in place of the checkpoint's preprocessing.
        inflated: the image transformer that initializes a new network, as `finetune.models.inflate.inflate` takes it.

    Raises:
        DataError: there is no such new network.
        ModelError: the checkpoint or the image transformer cannot be loaded, or does not fit.
    """
    labels: dict[str, Any] = {
        "id2label": dict(enumerate(classes)),
        "label2id": {label: index for index, label in enumerate(classes)},
    }
    base = revision = licence = None
    if init.startswith(SCRATCH_PREFIX):
        network, pixel_spec = _new(init.removeprefix(SCRATCH_PREFIX), labels)
        if inflated:
            base = inflate(network, inflated)
    else:
        try:
            checkpoint = resolve_checkpoint(init)
        except HubUnreachableError as error:
            here = BUNDLED.relative_to(Path.cwd()) if BUNDLED.is_relative_to(Path.cwd()) else BUNDLED
            raise ModelError(f"{error} Start from local weights, for example --init {here}.") from error
        base, revision, licence = checkpoint.name, checkpoint.revision, _licence(checkpoint)
        names = read_json(checkpoint.folder / "config.json", base).get("id2label", {})
        network, new = load_network(checkpoint, num_labels=len(classes), **labels)
        refuse_non_finite(network.state_dict(), base)
        if body := sorted(key for key in new if not key.startswith("classifier.")):
            raise ModelError(f"{init} lacks weights that its config.json requires: {', '.join(body[:3])} ...")
        if [names.get(str(index)) for index in range(len(names))] != list(classes):
            # a head of the same size would be kept, with other classes
            log.info("%s has other classes, so the %d-way head is new.", base, len(classes))
            head = torch.nn.Linear(network.config.hidden_size, len(classes))
            torch.nn.init.normal_(head.weight, std=network.config.initializer_range)
            torch.nn.init.zeros_(head.bias)
            network.classifier = head
        pixel_spec = read_pixel_spec(checkpoint.folder, base, network.config.model_type)
    config = network.config
    vars(config).pop(OOD_KEY, None)  # statistics of the initial weights
    usual = FAMILIES[config.model_type].clip_spec
    clip_spec = ClipSpec(
        num_frames=config.num_frames,
        stride=usual.stride,
        sampler=sampler or usual.sampler,  # type: ignore[arg-type]
        extension=extension or usual.extension,  # type: ignore[arg-type]
    )
    if paper_pixels:
        pixel_spec = PixelSpec.paper(config.image_size)
    return InitialModel(
        network=network, clip_spec=clip_spec, pixel_spec=pixel_spec, base=base, revision=revision, licence=licence
    )


def _licence(checkpoint: Checkpoint) -> str | None:
    """Reads the licence from the card, in the folder or on the Hub, where it is not downloaded with the weights."""
    try:
        if checkpoint.revision:
            card: CardData | None = model_info(checkpoint.name, timeout=HUB_SECONDS).card_data
        else:
            card = ModelCard.load(checkpoint.folder / CARD_FILE).data
    except Exception:  # no card, an unreadable one, or no Hub, where the client raises its HTTP library's errors
        return None
    licence = card.get("license") if card else None
    return licence if isinstance(licence, str) else None


def _new(name: str, labels: dict[str, Any]) -> tuple[PreTrainedModel, PixelSpec]:
    if f"timesformer-{name}" in SCRATCH:
        name = f"timesformer-{name}"
    if name not in SCRATCH:
        raise DataError(f"There is no new network {SCRATCH_PREFIX}{name}; known are {', '.join(SCRATCH)}.")
    template = SCRATCH[name]
    config = type(template).from_dict(template.to_dict() | labels)
    network: PreTrainedModel = AutoModelForVideoClassification.from_config(config)  # type: ignore[no-untyped-call]
    return network, PixelSpec.paper(network.config.image_size)
