"""Preprocessing: the pixels of a clip -> the float tensor that a network takes.

It has two steps, so that training can cache the result of the first and run the second on its device: `resize_and_crop`
(uint8 to uint8) and `normalize` (uint8 to float32). A `PixelSpec` configures both and is stored as the checkpoint's
preprocessor_config.json. transformers' processors are not used, because they resize differently with and without
torchvision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hmdb.errors import ModelError
from hmdb.model.processor_defaults import PIXELS_FILE, VIDEO_PIXELS_FILE, WRITTEN_TYPES, with_defaults

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MAX_SIZE = 1024  # pixels
SMALLEST, LARGEST = 1e-6, 1e3  # divisors and factors that keep float32 finite
REQUIRED_STEPS = ("do_resize", "do_rescale", "do_normalize")


@dataclass(frozen=True, kw_only=True)
class PixelSpec:
    """The preprocessing of the frames of a checkpoint.

    Attributes:
        size: (height, width) that a frame is resized to, or the new length of its short side.
        crop: (height, width) of the center crop after resizing; None for no crop.
        resample: PIL's number of the resampling filter; 2 is bilinear.
        scale: factor of the 0..255 values.
        offset: True to subtract 1 after scaling, as for ViViT.
        mean, std: per channel, subtracted and divided by after that.

    Raises:
        ModelError: a value is invalid, the crop is larger than the frame, or frames are larger than 1024x1024.
    """

    size: tuple[int, int] | int
    crop: tuple[int, int] | None = None
    resample: int = 2
    scale: float = 1 / 255
    offset: bool = False
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        sizes = {"size": _pair(self.size)} | ({} if self.crop is None else {"crop_size": self.crop})
        for name, pair in sizes.items():
            if not _is_numeric_tuple(pair, 2, (int,), 1, MAX_SIZE):
                raise ModelError(
                    f"{name} in {PIXELS_FILE} must be whole numbers of pixels, at most {MAX_SIZE}, not {pair!r}."
                )
        if self.crop and any(cut > side for cut, side in zip(self.crop, sizes["size"], strict=True)):
            raise ModelError(f"crop_size in {PIXELS_FILE} is larger than size.")
        if not _is_numeric_tuple((self.resample,), 1, (int, Image.Resampling), 0, max(Image.Resampling)):
            raise ModelError(f"resample in {PIXELS_FILE} must be PIL's number of a filter, not {self.resample!r}.")
        for name, values, count, low in (
            ("image_mean", self.mean, 3, -LARGEST),
            ("image_std", self.std, 3, SMALLEST),
            ("rescale_factor", (self.scale,), 1, SMALLEST),
        ):
            if not _is_numeric_tuple(values, count, (int, float), low, LARGEST):
                raise ModelError(
                    f"{name} in {PIXELS_FILE} must be numbers from {low:g} to {LARGEST:g}, {count} in all, "
                    f"not {values!r}."
                )
        _ = self.shape  # raises if there is none

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of a preprocessed frame."""
        if self.crop:
            return self.crop
        if isinstance(self.size, int):
            raise ModelError(f"{PIXELS_FILE} resizes the short side without a crop, so frames have no fixed shape.")
        return self.size

    def region(self, height: int, width: int) -> tuple[float, float, float, float]:
        """(top, left, bottom, right) of the area of a frame that the model sees, as fractions of height and width."""
        rows, columns = self._resized(height, width)
        top, left = (rows - self.shape[0]) // 2, (columns - self.shape[1]) // 2
        return top / rows, left / columns, (top + self.shape[0]) / rows, (left + self.shape[1]) / columns

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after resizing, before the crop."""
        if isinstance(self.size, int):
            short = min(height, width)
            return int(self.size * height / short), int(self.size * width / short)
        return self.size

    @classmethod
    def paper(cls, image_size: int) -> PixelSpec:
        """The paper's preprocessing (from its code): resized to a square, with ImageNet mean and std."""
        return cls(size=(image_size, image_size), mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], processor: str | None = None) -> PixelSpec:
        """Reads the contents of a preprocessor_config.json, of transformers 4 too.

        Missing settings take transformers' defaults.

        Args:
            processor: transformers' class if the file names none.

        Raises:
            ModelError: a setting is invalid, a required step is turned off, or the processor is not supported.
        """
        for step in REQUIRED_STEPS:
            if config.get(step, True) is not True:
                raise ModelError(f"{step} in {PIXELS_FILE} is {config[step]!r}; only true is supported.")
        for flag in ("do_center_crop", "offset"):
            if flag in config and not isinstance(config[flag], bool):
                raise ModelError(f"{flag} in {PIXELS_FILE} must be true or false, not {config[flag]!r}.")
        settings = with_defaults(config, processor)
        try:
            size, crop = settings["size"], settings["crop_size"]
            return cls(
                size=size["shortest_edge"] if len(size) == 1 else (size["height"], size["width"]),
                crop=_sides(crop) if settings["do_center_crop"] else None,
                resample=settings["resample"],
                scale=settings["rescale_factor"],
                offset=settings["offset"],
                mean=tuple(settings["image_mean"]),
                std=tuple(settings["image_std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{PIXELS_FILE} has a missing or invalid setting: {error}.") from error

    def to_dict(self) -> dict[str, Any]:
        """The contents of a preprocessor_config.json, with the same meaning in transformers."""
        crop = self.crop or self.shape
        config: dict[str, Any] = {
            "image_processor_type": WRITTEN_TYPES[self.offset],
            "do_resize": True,
            "size": {"shortest_edge": self.size}
            if isinstance(self.size, int)
            else {"height": self.size[0], "width": self.size[1]},
            "resample": self.resample,
            "do_center_crop": self.crop is not None,
            "crop_size": {"height": crop[0], "width": crop[1]},
            "do_rescale": True,
            "rescale_factor": self.scale,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }
        return config | ({"offset": True} if self.offset else {})

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes preprocessor_config.json and its equivalent for video processors, video_preprocessor_config.json."""
        image = self.to_dict()
        video = {"video_processor_type": image["image_processor_type"].replace("Image", "Video"), **image}
        for name in ("image_processor_type", "offset"):  # the class implies the offset
            video.pop(name, None)
        for file, contents in ((PIXELS_FILE, image), (VIDEO_PIXELS_FILE, video)):
            (Path(folder) / file).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


def _sides(crop: Any) -> Any:
    return (crop["height"], crop["width"]) if isinstance(crop, Mapping) else (crop, crop)


def _pair(size: Any) -> Any:
    return size if isinstance(size, tuple) else (size, size)


def _is_numeric_tuple(values: Any, count: int, kinds: tuple[type, ...], low: float, high: float) -> bool:
    """True for a tuple of `count` numbers in low..high; bool and NaN are not numbers."""
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(type(value) in kinds and low <= value <= high for value in values)
    )


def resize_and_crop(pixels: np.ndarray, spec: PixelSpec) -> np.ndarray:
    """Resizes and crops frames.

    Args:
        pixels: uint8 RGB (T, H, W, 3).

    Returns:
        uint8 (T, height, width, 3) with (height, width) = spec.shape.
    """
    _, height, width, _ = pixels.shape
    target = spec._resized(height, width)
    rows, columns = spec.shape
    top, left = (target[0] - rows) // 2, (target[1] - columns) // 2
    resized = [Image.fromarray(frame).resize(target[::-1], Image.Resampling(spec.resample)) for frame in pixels]
    return np.stack([np.asarray(frame)[top : top + rows, left : left + columns] for frame in resized])


def normalize(pixels: torch.Tensor, spec: PixelSpec) -> torch.Tensor:
    """Normalizes: uint8 (..., T, height, width, 3) -> float32 (..., T, 3, height, width), on the same device."""
    mean = torch.tensor(spec.mean, device=pixels.device)
    std = torch.tensor(spec.std, device=pixels.device)
    values = (pixels.float() * spec.scale - float(spec.offset) - mean) / std
    return values.movedim(-1, -3)


def preprocess(pixels: np.ndarray, spec: PixelSpec) -> torch.Tensor:
    """Runs both steps: uint8 RGB (T, H, W, 3) -> float32 (T, 3, height, width)."""
    return normalize(torch.from_numpy(resize_and_crop(pixels, spec)), spec)
