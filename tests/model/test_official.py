"""The official checkpoints through our loading, engine and precision, against the logits that transformers' own
tests expect of them.

`pytest -m network` asks the Hub, for 840 MB. All else of it is rehearsed on a Hub of our own with small weights.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import hf_hub_download
from transformers import AutoModelForVideoClassification, TimesformerConfig, VivitConfig, VivitImageProcessor
from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

from hmdb.model import KINETICS_400
from hmdb.model.hub import HubUnreachableError
from hmdb.model.preprocess import PixelSpec, preprocess
from hmdb.recognizer import Recognizer
from tests.support.hub import HubServer
from tests.support.official import TIMESFORMER_PIXELS, VIVIT_K400, VIVIT_PIXELS, add_official

VIDEOS = "hf-internal-testing/spaghetti-video"


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A checkpoint, the clip that it is given, and the first of its logits.

    Attributes:
        pixels: what is done to the clip, which is not what the checkpoint's own file says.
        processor: the same in transformers.
    """

    checkpoint: str
    video: str
    frames: int
    pixels: Callable[[PixelSpec], PixelSpec]
    processor: Any
    logits: tuple[float, ...]


GOLDEN = (
    Golden(
        checkpoint=KINETICS_400,
        video="eating_spaghetti.npy",
        frames=8,
        pixels=lambda spec: replace(spec, mean=(0.5,) * 3, std=(0.5,) * 3),
        processor=VideoMAEImageProcessorPil(image_mean=[0.5] * 3, image_std=[0.5] * 3),
        logits=(-0.3016, -0.7713, -0.4205),
    ),
    Golden(
        checkpoint=VIVIT_K400,
        video="eating_spaghetti_32_frames.npy",
        frames=32,
        pixels=lambda spec: replace(spec, size=256),
        processor=VivitImageProcessor(),
        logits=(-0.9498, 2.7971, -1.4049, 0.1024, -1.8353),
    ),
)


def clip(golden: Golden) -> np.ndarray:
    """uint8 (frames, H, W, 3)."""
    file = hf_hub_download(VIDEOS, golden.video, repo_type="dataset")
    frames: np.ndarray = np.load(file)[: golden.frames]
    return frames


def logits(golden: Golden, dtype: str) -> torch.Tensor:
    """The logits of `Recognizer`'s network, (labels,)."""
    recognizer = Recognizer.from_pretrained(golden.checkpoint, device="cpu", dtype=dtype)
    pixel_values = preprocess(clip(golden), golden.pixels(recognizer.loaded.pixel_spec))
    with torch.inference_mode():
        answer: torch.Tensor = recognizer.loaded.network(pixel_values=pixel_values[None]).logits[0].float()
    return answer


@pytest.mark.network
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.checkpoint)
def test_golden_logits(golden: Golden) -> None:
    try:
        exact = logits(golden, "float32")
    except HubUnreachableError:
        pytest.skip("the Hub cannot be reached")
    torch.testing.assert_close(exact[: len(golden.logits)], torch.tensor(golden.logits), atol=1e-3, rtol=0)
    faster = logits(golden, "auto")
    assert (faster - exact).abs().max() <= 0.02 * (exact.max() - exact.min())
    assert faster.argmax() == exact.argmax()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        server.use(monkeypatch, tmp_path / "cache")
        yield server


SMALL: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("golden", "config", "pixels"),
    [
        (GOLDEN[0], TimesformerConfig(**SMALL), TIMESFORMER_PIXELS),
        (GOLDEN[1], VivitConfig(**SMALL), VIVIT_PIXELS),
    ],
    ids=lambda value: getattr(value, "checkpoint", ""),
)
def test_golden_logits_rehearsed(
    hub: HubServer, golden: Golden, config: TimesformerConfig | VivitConfig, pixels: dict[str, Any], tmp_path: Path
) -> None:
    weights = add_official(hub, golden.checkpoint, config, pixels, tmp_path / "official")
    video = np.random.default_rng(0).integers(0, 256, (golden.frames + 8, 120, 160, 3), np.uint8)
    stored = BytesIO()
    np.save(stored, video)
    hub.add(VIDEOS, {golden.video: stored.getvalue()}, repo_type="dataset")
    network = AutoModelForVideoClassification.from_pretrained(weights)
    with torch.inference_mode():
        inputs = golden.processor(list(video[: golden.frames]), return_tensors="pt")
        expected = network(**inputs).logits[0]
    torch.testing.assert_close(logits(golden, "float32"), expected, atol=1e-4, rtol=0)
