"""Export of a checkpoint to ONNX, with the configuration that inference needs, for runtimes without torch."""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from hmdb.errors import ModelError
from hmdb.model.loading import CLIP_SPEC_KEY, LoadedModel

NETWORK_FILE = "model.onnx"
INPUT, OUTPUT = "pixel_values", "logits"
TOLERANCE = 1e-4  # difference of logits between ONNX Runtime and torch
MAX_BATCH = 1024  # clips
TEST_CLIPS = 2
NOISY_LOGGER = "torch.onnx._internal.exporter._registration"  # warns that torchvision is missing, which is not needed


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported network.

    Attributes:
        folder: contains model.onnx, preprocessor_config.json, and config.json with labels, clip spec and calibration.
        difference: largest difference between the logits of ONNX Runtime and torch, on clips of noise.
    """

    folder: Path
    difference: float


def export(loaded: LoadedModel, output: Path) -> Exported:
    """Writes a model as ONNX with its configuration, after comparing its logits in ONNX Runtime with torch's.

    The network takes `pixel_values`, float32 (clips, frames, 3, height, width) as made by `hmdb.model.preprocess`, for
    1 to `MAX_BATCH` clips, and returns `logits`, float32 (clips, labels).

    Args:
        loaded: a model on the CPU, not optimized for inference.
        output: a new or empty folder.

    Raises:
        ModelError: the folder is not empty or cannot be written, a package is missing, the network cannot be converted,
            its logits differ, or a taught head reads several views of a clip.
    """
    if loaded.head is not None and loaded.head.num_views > 1:
        raise ModelError(
            f"{loaded.checkpoint.name} was taught with the halves of each clip, which ONNX cannot hold as one network."
        )
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ModelError(f"{output} is not an empty folder. Name a new --output folder.")
    try:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else a device id in the home folder, and events
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise ModelError("Exporting needs more packages: pip install onnx onnxruntime onnxscript.") from error
    target = output.resolve()
    staging = target.with_name(f".{target.name}.part")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        _write_network(loaded, staging / NETWORK_FILE)
        _write_config(loaded, staging)
        loaded.pixel_spec.save_pretrained(staging)
        session = onnxruntime.InferenceSession(staging / NETWORK_FILE, providers=["CPUExecutionProvider"])
        difference = largest_difference(loaded, session)
        target.mkdir(parents=True, exist_ok=True)
        for file in staging.iterdir():
            file.replace(target / file.name)
    except OSError as error:
        raise ModelError(f"{output} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Exported(folder=output, difference=difference)


class _Logits(nn.Module):
    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(pixel_values=pixel_values).logits
        return logits


def _write_network(loaded: LoadedModel, path: Path) -> None:
    clips = torch.export.Dim("clips", min=1, max=MAX_BATCH)
    try:
        with _quietly():
            program: Any = torch.onnx.export(
                _Logits(loaded.network).train(False),
                (_noise(loaded),),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={INPUT: {0: clips}},
                verbose=False,
            )
            program.save(path)
    except torch.onnx.errors.OnnxExporterError as error:
        raise ModelError(f"{loaded.checkpoint.name} cannot be converted to ONNX.") from error


def _write_config(loaded: LoadedModel, folder: Path) -> None:
    config = loaded.network.config.to_dict() | {CLIP_SPEC_KEY: loaded.clip_spec.to_dict()}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def largest_difference(loaded: LoadedModel, session: Any) -> float:
    """The largest difference between the logits of a session of ONNX Runtime and of the network, on clips of noise.

    Raises:
        ModelError: it exceeds 1e-4 or is NaN.
    """
    clips = _noise(loaded)
    with torch.inference_mode():
        expected = loaded.network(pixel_values=clips).logits.numpy()
    (actual,) = session.run([OUTPUT], {INPUT: clips.numpy()})
    difference = float(np.abs(actual - expected).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{loaded.checkpoint.name} has other logits in ONNX Runtime: the largest difference is {difference:.2g}, "
            f"more than {TOLERANCE:g}."
        )
    return difference


def _noise(loaded: LoadedModel) -> torch.Tensor:
    shape = (TEST_CLIPS, loaded.clip_spec.num_frames, 3, *loaded.pixel_spec.shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@contextmanager
def _quietly() -> Iterator[None]:
    logger = logging.getLogger(NOISY_LOGGER)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # raised by torch's use of its own functions
            yield
    finally:
        logger.setLevel(before)
