"""Our pixels against those of transformers' own processors."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, VivitImageProcessor
from transformers.models.auto import image_processing_auto
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hmdb.errors import ModelError
from hmdb.model.families import FAMILIES
from hmdb.model.preprocess import IMAGENET_MEAN, IMAGENET_STD, PixelSpec, preprocess, resize_and_crop
from hmdb.model.validation import read_pixel_spec
from tests.support.official import TIMESFORMER_PIXELS, VIVIT_PIXELS

CLASSES: dict[str, Any] = {
    "VideoMAEImageProcessor": VideoMAEImageProcessorPil,
    "VivitImageProcessor": VivitImageProcessor,
    "BitImageProcessor": BitImageProcessorPil,
    "ViTImageProcessor": ViTImageProcessorPil,
}
UNUSUAL: dict[str, Any] = {  # no value is the default of any class
    "size": {"shortest_edge": 232},
    "resample": 1,
    "do_center_crop": True,
    "crop_size": {"height": 200, "width": 216},
    "rescale_factor": 1 / 200,
    "offset": False,  # which all but ViViT's pass over
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.6, 0.7],
}
EVERYTHING = tuple(UNUSUAL)


@pytest.fixture(params=[(120, 160), (240, 320), (320, 180), (57, 301)])
def pixels(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, *request.param, 3), np.uint8)


def test_timesformer_pixels_match_transformers(pixels: np.ndarray) -> None:
    expected = VideoMAEImageProcessorPil(**TIMESFORMER_PIXELS)(list(pixels), return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(preprocess(pixels, PixelSpec.from_dict(TIMESFORMER_PIXELS)), expected, atol=1e-5, rtol=0)


def test_vivit_pixels_match_transformers(pixels: np.ndarray) -> None:
    expected = VivitImageProcessor(**VIVIT_PIXELS)(list(pixels), return_tensors="pt").pixel_values[0]
    ours = preprocess(pixels, PixelSpec.from_dict(VIVIT_PIXELS))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert ours.min() < -2.5
    assert ours.max() <= 1


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("missing", [(), *((key,) for key in UNUSUAL), EVERYTHING], ids="-".join)
def test_missing_settings_are_transformers_defaults(name: str, missing: tuple[str, ...]) -> None:
    config = {key: value for key, value in UNUSUAL.items() if key not in missing}
    if name == "ViTImageProcessor":  # it never crops, and asks for a square
        config |= {"do_center_crop": False} | ({} if "size" in missing else {"size": 232})
    if name != "VivitImageProcessor":
        config["offset"] = True
    pixels = np.random.default_rng(0).integers(0, 256, (2, 120, 160, 3), np.uint8)
    expected = torch.stack(list(CLASSES[name](**config)(list(pixels), return_tensors="pt").pixel_values.flatten(0, -4)))
    ours = preprocess(pixels, PixelSpec.from_dict(config | {"image_processor_type": name}))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_unnamed_processor_is_the_familys(model_type: str, tmp_path: Path) -> None:
    known: Any = image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES[model_type]  # type: ignore[attr-defined]
    usual = FAMILIES[model_type].processor
    assert usual in known.values()
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert read_pixel_spec(tmp_path, "", model_type) == PixelSpec.from_dict({"image_processor_type": usual})
    with pytest.raises(ModelError, match=r"image_processor_type in .* must be a name, not None"):
        read_pixel_spec(tmp_path, "", "bert")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ({"image_processor_type": "ViViTImageProcessor"}, "VivitImageProcessor"),
        ({"image_processor_type": "VideoMAEImageProcessorFast"}, "VideoMAEImageProcessor"),
        ({"image_processor_type": "VideoMAEImageProcessorPil"}, "VideoMAEImageProcessor"),
        ({"feature_extractor_type": "VideoMAEFeatureExtractor"}, "VideoMAEImageProcessor"),
        ({"feature_extractor_type": "ViTFeatureExtractor"}, "ViTImageProcessor"),
    ],
)
def test_older_processor_names(spelling: dict[str, str], name: str) -> None:
    assert PixelSpec.from_dict(spelling) == PixelSpec.from_dict({"image_processor_type": name})


SPECS = [PixelSpec.paper(224), *map(PixelSpec.from_dict, (TIMESFORMER_PIXELS, VIVIT_PIXELS))]


@pytest.mark.parametrize("spec", SPECS)
def test_transformers_reads_the_written_file(spec: PixelSpec, pixels: np.ndarray, tmp_path: Path) -> None:
    spec.save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")  # type: ignore[no-untyped-call]
    expected = processor(list(pixels), return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(preprocess(pixels, spec), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("spec", SPECS)
def test_video_processors_match_except_for_resizing(spec: PixelSpec, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    from transformers import AutoVideoProcessor

    spec.save_pretrained(tmp_path)
    processor = AutoVideoProcessor.from_pretrained(tmp_path)  # type: ignore[no-untyped-call]
    same_size = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    expected = processor(same_size, return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(preprocess(same_size, spec), expected, atol=1e-5, rtol=0)
    smooth = np.stack([np.linspace(low, 255, 240 * 320 * 3).reshape(240, 320, 3) for low in (0, 99, 200)]).astype(
        np.uint8
    )
    expected = processor(smooth, return_tensors="pt").pixel_values[0]
    one_level = spec.scale / min(spec.std)
    torch.testing.assert_close(preprocess(smooth, spec), expected, atol=1.01 * one_level, rtol=0)


@pytest.mark.parametrize("spec", SPECS)
def test_checkpoint_with_only_a_video_processor_file(spec: PixelSpec, tmp_path: Path) -> None:
    spec.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    assert read_pixel_spec(tmp_path, "a checkpoint", None) == spec


@pytest.mark.parametrize("module", ["timesformer", "videomae", "vivit"])
def test_video_processor_defaults(module: str) -> None:
    pytest.importorskip("torchvision")
    found = importlib.import_module(f"transformers.models.{module}.video_processing_{module}")
    (name,) = found.__all__
    pixels = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8)
    if module != "vivit":
        pixels = pixels[:, :224, :224]  # as large as it wants them: nothing is resized
    expected = getattr(found, name)()(pixels, return_tensors="pt").pixel_values[0]
    ours = preprocess(pixels, PixelSpec.from_dict({"video_processor_type": name, "offset": module != "vivit"}))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_paper_spec_resizes_to_a_square_with_imagenet_statistics(pixels: np.ndarray) -> None:
    processor = VideoMAEImageProcessorPil(**PixelSpec.paper(224).to_dict())
    expected = processor(list(pixels), return_tensors="pt").pixel_values[0]
    ours = preprocess(pixels, PixelSpec.paper(224))
    assert ours.shape == (3, 3, 224, 224)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    black = preprocess(np.zeros((1, 8, 8, 3), np.uint8), PixelSpec.paper(224))[0, :, 0, 0]
    torch.testing.assert_close(black, -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD))


@pytest.mark.parametrize("spec", SPECS)
def test_pixel_spec_survives_its_file(spec: PixelSpec) -> None:
    assert PixelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_resize_and_crop_keeps_uint8() -> None:
    fitted = resize_and_crop(np.zeros((2, 30, 40, 3), np.uint8), PixelSpec.paper(16))
    assert fitted.dtype == np.uint8
    assert fitted.shape == (2, 16, 16, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_mean": None}, "missing or invalid setting"),
        ({"size": {"shortest_edge": 224}, "do_center_crop": False}, "no fixed shape"),
        ({"crop_size": {"height": 99999, "width": 99999}}, "at most 1024"),
        ({"crop_size": {"height": 224, "width": 225}}, "crop_size .* larger than size"),
        ({"size": {"shortest_edge": 1e6}}, "size .* at most 1024, not"),
        ({"do_normalize": False}, "do_normalize .* is False; only true"),
        ({"image_std": [0.2, 0.0, 0.2]}, "image_std .* must be numbers from 1e-06 to 1000, 3 in all"),
        ({"rescale_factor": float("nan")}, r"rescale_factor .* not \(nan,\)"),
        ({"resample": 99}, "resample .* not 99"),
        ({"size": {"shortest_edge": 224, "longest_edge": 256}}, "missing or invalid setting"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "processor ConvNextImageProcessor in .* is not supported"),
    ],
)
def test_invalid_files_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        PixelSpec.from_dict(TIMESFORMER_PIXELS | change)


def test_region_of_a_center_crop() -> None:
    squashed = PixelSpec.paper(224)
    assert squashed.region(240, 320) == (0, 0, 1, 1)
    cropped = PixelSpec(size=224, crop=(224, 224), mean=(0.45,) * 3, std=(0.225,) * 3)
    top, left, bottom, right = cropped.region(240, 320)
    assert (top, bottom) == (0, 1)
    assert (left, right) == pytest.approx((37 / 298, 261 / 298))
