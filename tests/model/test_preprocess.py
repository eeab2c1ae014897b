"""Our pixels against those of transformers' own processors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import VivitImageProcessor
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

from hmdb.errors import ModelError
from hmdb.model.preprocess import IMAGENET_MEAN, IMAGENET_STD, PixelSpec, fit, preprocess

TIMESFORMER_K400: dict[str, Any] = {  # as its preprocessor_config.json on the Hub has it
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "VideoMAEFeatureExtractor",
    "image_mean": [0.45, 0.45, 0.45],
    "image_processor_type": "VideoMAEImageProcessor",
    "image_std": [0.225, 0.225, 0.225],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}


@pytest.fixture(params=[(120, 160), (240, 320), (320, 180), (57, 301)])
def pixels(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, *request.param, 3), np.uint8)


def test_timesformer_pixels_are_those_of_transformers(pixels: np.ndarray) -> None:
    expected = VideoMAEImageProcessorPil(**TIMESFORMER_K400)(list(pixels), return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(preprocess(pixels, PixelSpec.from_dict(TIMESFORMER_K400)), expected, atol=1e-5, rtol=0)


def test_vivit_pixels_are_those_of_transformers_from_minus_3_to_1(pixels: np.ndarray, tmp_path: Path) -> None:
    processor = VivitImageProcessor(size={"shortest_edge": 256}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    processor.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    expected = processor(list(pixels), return_tensors="pt").pixel_values[0]
    ours = preprocess(pixels, PixelSpec.from_dict(config))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert ours.min() < -2.5
    assert ours.max() <= 1


def test_the_papers_pixels_squash_and_use_imagenet(pixels: np.ndarray) -> None:
    processor = VideoMAEImageProcessorPil(**PixelSpec.paper(224).to_dict())
    expected = processor(list(pixels), return_tensors="pt").pixel_values[0]
    ours = preprocess(pixels, PixelSpec.paper(224))
    assert ours.shape == (3, 3, 224, 224)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    black = preprocess(np.zeros((1, 8, 8, 3), np.uint8), PixelSpec.paper(224))[0, :, 0, 0]
    torch.testing.assert_close(black, -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD))


@pytest.mark.parametrize("spec", [PixelSpec.paper(112), PixelSpec.from_dict(TIMESFORMER_K400)])
def test_a_spec_survives_its_file(spec: PixelSpec) -> None:
    assert PixelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_fit_keeps_bytes() -> None:
    fitted = fit(np.zeros((2, 30, 40, 3), np.uint8), PixelSpec.paper(16))
    assert fitted.dtype == np.uint8
    assert fitted.shape == (2, 16, 16, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_mean": None}, "lacks or mangles"),
        ({"size": {"shortest_edge": 224}, "do_center_crop": False}, "no fixed shape"),
        ({"crop_size": {"height": 99999, "width": 99999}}, "at most 1024"),
        ({"crop_size": {"height": 224, "width": 225}}, "crop_size .* larger than the size"),
        ({"size": {"shortest_edge": 1e6}}, "size .* at most 1024, not"),
        ({"do_normalize": False}, "do_normalize .* is False; only true"),
        ({"image_std": [0.2, 0.0, 0.2]}, "image_std .* must be numbers from 1e-06 to 1000, 3 in all"),
        ({"rescale_factor": float("nan")}, r"rescale_factor .* not \(nan,\)"),
        ({"resample": 99}, "resample .* not 99"),
    ],
)
def test_a_file_that_says_too_little_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        PixelSpec.from_dict(TIMESFORMER_K400 | change)


def test_the_region_that_is_seen() -> None:
    squashed = PixelSpec.paper(224)
    assert squashed.region(240, 320) == (0, 0, 1, 1)
    cropped = PixelSpec(size=224, crop=(224, 224), mean=(0.45,) * 3, std=(0.225,) * 3)
    top, left, bottom, right = cropped.region(240, 320)
    assert (top, bottom) == (0, 1)
    assert (left, right) == pytest.approx((37 / 298, 261 / 298))
