"""Other inference engines on the same network, if installed: this project does not require them."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

Forward = Callable[[], np.ndarray]
ENGINES = ("openvino", "onnxruntime")


class Logits(torch.nn.Module):
    def __init__(self, network: PreTrainedModel) -> None:
        super().__init__()
        self.train(mode=False)
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(pixel_values=pixel_values).logits
        return logits


def missing_engines() -> list[str]:
    return [name for name in ENGINES if find_spec(name) is None]


def build_forwards(network: PreTrainedModel, pixel_values: torch.Tensor) -> dict[str, Forward]:
    """Builds a forward function for each engine and precision."""
    ways: dict[str, Forward] = {}
    warnings.simplefilter("ignore")  # of tracing
    if find_spec("openvino"):
        ways |= _openvino(network, pixel_values)
    if find_spec("onnxruntime") and find_spec("onnxscript"):
        ways |= _onnxruntime(network, pixel_values)
    return ways


def _openvino(network: PreTrainedModel, pixel_values: torch.Tensor) -> dict[str, Forward]:
    import openvino

    model = openvino.convert_model(Logits(network), example_input=pixel_values)
    clip = pixel_values.numpy()

    def way(dtype: str) -> Forward:
        settings = {"INFERENCE_PRECISION_HINT": dtype, "PERFORMANCE_HINT": "LATENCY"}
        compiled = openvino.compile_model(model, "CPU", settings)
        return lambda: np.asarray(compiled(clip)[0])

    return {f"OpenVINO, {dtype}": way(dtype) for dtype in ("f32", "bf16")}


def _onnxruntime(network: PreTrainedModel, pixel_values: torch.Tensor) -> dict[str, Forward]:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(Logits(network), (pixel_values,), path, dynamo=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    clip = {session.get_inputs()[0].name: pixel_values.numpy()}
    return {"onnxruntime, f32": lambda: np.asarray(session.run(None, clip)[0])}
