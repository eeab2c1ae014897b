"""Defaults of transformers' processors for the settings that a preprocessor_config.json omits.

They depend on the class that the file names. The values are those of transformers 5.23; a test compares them with the
classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hmdb.errors import ModelError

PIXELS_FILE = "preprocessor_config.json"  # of image processors, which do not need torchvision
VIDEO_PIXELS_FILE = "video_preprocessor_config.json"  # of video processors, which do
WRITTEN_TYPES = {False: "VideoMAEImageProcessor", True: "VivitImageProcessor"}  # keyed by `PixelSpec.offset`

_HALVES = [0.5, 0.5, 0.5]
_VIDEOMAE = {
    "size": {"shortest_edge": 224},
    "resample": 2,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "rescale_factor": 1 / 255,
    "offset": False,
    "image_mean": _HALVES,
    "image_std": _HALVES,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "VideoMAEImageProcessor": _VIDEOMAE,
    "VivitImageProcessor": _VIDEOMAE | {"size": {"shortest_edge": 256}, "rescale_factor": 1 / 127.5, "offset": True},
    "VideoMAEVideoProcessor": _VIDEOMAE,
    "TimesformerVideoProcessor": _VIDEOMAE | {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    "VivitVideoProcessor": _VIDEOMAE | {"size": {"shortest_edge": 256}, "rescale_factor": 1 / 127.5, "offset": True},
    # of image models, which serve as teachers
    "BitImageProcessor": _VIDEOMAE
    | {
        "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    },
    "ViTImageProcessor": _VIDEOMAE | {"size": {"height": 224, "width": 224}, "do_center_crop": False},
}
READS_OFFSET = ("VivitImageProcessor",)  # classes that read `offset`; others ignore it
OTHER_SPELLINGS = {"ViViTImageProcessor": "VivitImageProcessor"}  # google/vivit-b-16x2-kinetics400 has the first


def with_defaults(config: Mapping[str, Any], default: str | None = None) -> dict[str, Any]:
    """Completes the contents of a processor's file with its class's defaults.

    Args:
        default: the class if the file names none.

    Raises:
        ModelError: the class is not supported.
    """
    name = _processor(config, default)
    settings: dict[str, Any] = {**DEFAULTS[name], **config}
    if isinstance(settings["size"], int):
        # a single number has the meaning of the default: a square, or the short side
        side = settings["size"]
        square = "height" in DEFAULTS[name]["size"]
        settings["size"] = {"height": side, "width": side} if square else {"shortest_edge": side}
    if name not in READS_OFFSET:
        settings["offset"] = DEFAULTS[name]["offset"]
    return settings


def _processor(config: Mapping[str, Any], default: str | None) -> str:
    """The key in `DEFAULTS` of the class that a file names, also by an older name."""
    keys = ("video_processor_type", "image_processor_type", "feature_extractor_type")
    named = next((config[key] for key in keys if config.get(key)), default)
    if not isinstance(named, str):
        raise ModelError(f"image_processor_type in {PIXELS_FILE} must be a name, not {named!r}.")
    name = named.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    name = OTHER_SPELLINGS.get(name, name)
    if name not in DEFAULTS:
        raise ModelError(f"The processor {named} in {PIXELS_FILE} is not supported, only {', '.join(DEFAULTS)}.")
    return name
