"""A checkpoint -> ONNX, for runtimes without torch: the network, and beside it all that an answer needs."""

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
TOLERANCE = 1e-4  # of logits in ONNX Runtime, beside torch's
MOST_CLIPS = 1024  # in a batch
TRIED_CLIPS = 2
NOISY = "torch.onnx._internal.exporter._registration"  # warns that torchvision is missing, which nothing here needs


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A network in ONNX.

    Attributes:
        folder: holds model.onnx, config.json with the labels, the clip spec and the calibration, and
            preprocessor_config.json.
        difference: the largest between a logit of ONNX Runtime and torch's, on clips of noise.
    """

    folder: Path
    difference: float


def export(loaded: LoadedModel, output: Path) -> Exported:
    """Writes the network of a checkpoint as ONNX, tried in ONNX Runtime, and beside it labels, clip spec and processor.

    The network takes `pixel_values`, float32 (clips, frames, 3, height, width) as `hmdb.model.preprocess` makes them,
    any number of clips, and gives `logits`, float32 (clips, labels).

    Args:
        loaded: on the CPU, and not optimized for inference.
        output: a new or empty folder.

    Raises:
        ModelError: the folder is not empty or cannot be written, what is needed for it is not installed, the
            network cannot be expressed, or ONNX Runtime answers differently.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ModelError(f"{output} is not an empty folder. Give a new --output folder.")
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
        loaded.pixel_spec.save(staging)
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
    clips = torch.export.Dim("clips", min=1, max=MOST_CLIPS)
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
        raise ModelError(f"{loaded.checkpoint.name} cannot be expressed in ONNX.") from error


def _write_config(loaded: LoadedModel, folder: Path) -> None:
    config = loaded.network.config.to_dict() | {CLIP_SPEC_KEY: loaded.clip_spec.to_dict()}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def largest_difference(loaded: LoadedModel, session: Any) -> float:
    """The largest difference of a logit between a session of ONNX Runtime and the network itself, on clips of noise.

    Raises:
        ModelError: it is larger than 1e-4, or no number.
    """
    clips = _noise(loaded)
    with torch.inference_mode():
        expected = loaded.network(pixel_values=clips).logits.numpy()
    (found,) = session.run([OUTPUT], {INPUT: clips.numpy()})
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{loaded.checkpoint.name} answers differently in ONNX Runtime: a logit is off by {difference:.2g}, "
            f"more than {TOLERANCE:g}."
        )
    return difference


def _noise(loaded: LoadedModel) -> torch.Tensor:
    shape = (TRIED_CLIPS, loaded.clip_spec.num_frames, 3, *loaded.pixel_spec.shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@contextmanager
def _quietly() -> Iterator[None]:
    logger = logging.getLogger(NOISY)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's, of its own use of its own functions
            yield
    finally:
        logger.setLevel(before)
