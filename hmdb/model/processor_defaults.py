"""What transformers' own processors take for the settings that their files leave out.

A preprocessor_config.json need not say everything: what it leaves out is the default of the class that it
names, and the classes differ. The values here are those of transformers 5.23, and a test holds them
against the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hmdb.errors import ModelError

PIXELS_FILE = "preprocessor_config.json"  # for image processors, which need no torchvision
VIDEO_PIXELS_FILE = "video_preprocessor_config.json"  # for video processors, which do
WRITTEN = {False: "VideoMAEImageProcessor", True: "VivitImageProcessor"}  # by whether there is an offset

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
    # of image models, which can teach
    "BitImageProcessor": _VIDEOMAE
    | {
        "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    },
    "ViTImageProcessor": _VIDEOMAE | {"size": {"height": 224, "width": 224}, "do_center_crop": False},
}
OFFSETS = ("VivitImageProcessor",)  # the classes that read `offset`; the others pass over it
OTHER_SPELLINGS = {"ViViTImageProcessor": "VivitImageProcessor"}  # google/vivit-b-16x2-kinetics400 has the first


def with_defaults(config: Mapping[str, Any], usual: str | None = None) -> dict[str, Any]:
    """The contents of a processor's file with every setting that bears on pixels.

    Args:
        usual: the class where the file names none.

    Raises:
        ModelError: another class, whose defaults and steps may differ.
    """
    name = _processor(config, usual)
    settings: dict[str, Any] = {**DEFAULTS[name], **config}
    if isinstance(settings["size"], int):
        # a single number is what the default is, a square or the short side
        side = settings["size"]
        square = "height" in DEFAULTS[name]["size"]
        settings["size"] = {"height": side, "width": side} if square else {"shortest_edge": side}
    if name not in OFFSETS:
        settings["offset"] = DEFAULTS[name]["offset"]
    return settings


def _processor(config: Mapping[str, Any], usual: str | None) -> str:
    """The name of the processor in `DEFAULTS` that a file names, also as older versions spelled it."""
    keys = ("video_processor_type", "image_processor_type", "feature_extractor_type")
    named = next((config[key] for key in keys if config.get(key)), usual)
    if not isinstance(named, str):
        raise ModelError(f"image_processor_type in {PIXELS_FILE} must be a name, not {named!r}.")
    name = named.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    name = OTHER_SPELLINGS.get(name, name)
    if name not in DEFAULTS:
        raise ModelError(f"The pixels of a {named} ({PIXELS_FILE}) are not known here, only of {', '.join(DEFAULTS)}.")
    return name
