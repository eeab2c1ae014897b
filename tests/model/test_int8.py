import copy
import json
import re
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

from hmdb.errors import ModelError
from hmdb.model.int8 import Int8Linear, has_int8_kernels, to_int8
from hmdb.model.optimize import optimize_for_inference, precision_of, weight_bytes
from hmdb.recognizer import Recognizer
from tests.support.checkpoints import write_checkpoint
from tests.support.paths import ROOT

WAYS = [False, *([True] if has_int8_kernels() else [])]  # with the CPU's instructions, and without


def layer(*, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(48, 40, bias=bias)


def tokens() -> torch.Tensor:
    """Of very different sizes, one of them zero."""
    values = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(1))
    values *= torch.logspace(-3, 3, 9)[:, None]
    values[1, 4] = 0
    return values


def by_hand(linear: nn.Linear, values: torch.Tensor) -> torch.Tensor:
    """The product of rounded numbers, in float64."""
    weight, values = linear.weight.detach().double(), values.double()
    scale = weight.abs().amax(1) / 127
    step = (values.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-30)
    product = (values / step).round() @ (weight / scale[:, None]).round().T * step * scale
    return product + (0 if linear.bias is None else linear.bias.detach().double())


def test_card_and_docs_match_the_config_on_int8() -> None:
    cost = json.loads((ROOT / "hmdb/bundled/config.json").read_text())["int8"]
    card = " ".join((ROOT / "hmdb/bundled/README.md").read_text().split())
    told = re.search(r"int8 (\S+) points of val top-1", card)
    assert told
    assert float(told[1]) == round(-cost["top1_change"], 1)
    docs = (ROOT / "docs/performance.md").read_text()
    exact, rounded = (re.search(rf"\| {dtype} \| (\S+) %", docs) for dtype in ("float32", "int8"))
    assert exact
    assert rounded
    assert float(exact[1]) - float(rounded[1]) == pytest.approx(-cost["top1_change"], abs=0.1)
    assert f"{cost['same_top1']} of {cost['clips']}" in docs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_int8_layer_is_exact_on_quantized_values(way: bool, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmdb.model.int8.has_int8_kernels", lambda: way)
    monkeypatch.setattr("hmdb.model.int8.CACHE_ELEMENTS", 7 * 48)  # 7 of 18 tokens
    linear, values = layer(bias=bias), tokens()
    expected, exact = by_hand(linear, values), linear(values).detach()
    to_int8(linear, torch.float32)
    with torch.inference_mode():
        found = linear(values)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), atol=1e-6, rtol=1e-5)
    assert float((found - exact).norm() / exact.norm()) < 0.01
    torch.testing.assert_close(linear(values), found, atol=1e-6, rtol=1e-5)  # where gradients could be asked for


@pytest.mark.parametrize("way", WAYS)
def test_int8_result_does_not_depend_on_the_batch(way: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmdb.model.int8.has_int8_kernels", lambda: way)
    linear, values = layer(), tokens()
    to_int8(linear, torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(linear(values)[:1, :1], linear(values[:1, :1]), atol=1e-6, rtol=1e-5)


def test_gradients_are_straight_through() -> None:
    linear, values = layer(), tokens().requires_grad_()
    to_int8(linear, torch.float32)
    (gradient,) = torch.autograd.grad(linear(values).sum(), [values])
    torch.testing.assert_close(gradient, cast(Int8Linear, linear).dequantized().sum(0).expand_as(values))


def test_non_finite_values_stay_non_finite() -> None:
    linear = layer()
    to_int8(linear, torch.float32)
    for wrong in (float("nan"), float("inf")):
        values = tokens()
        values[0, 0, 0] = wrong
        with torch.inference_mode():
            found = linear(values)
        assert not found[0, 0].isfinite().any()
        assert found[1].isfinite().all()


@pytest.mark.parametrize("init", ["scratch:timesformer-tiny", "scratch:vivit-tiny"])
def test_checkpoint_predicts_and_explains_in_int8(init: str, tmp_path: Path, video: Path) -> None:
    folder = write_checkpoint(tmp_path, init)
    plain, quick = (Recognizer.from_pretrained(folder, device="cpu", dtype=dtype) for dtype in ("float32", "int8"))
    assert (plain.dtype, quick.dtype) == ("float32", "int8")
    assert weight_bytes(quick.loaded.network) < weight_bytes(plain.loaded.network)
    clip = plain.read(video)
    assert quick.probabilities(clip) == pytest.approx(plain.probabilities(clip), abs=0.01)
    for label in (None, plain.labels[1]):
        explanation = quick.explain(clip, label=label)
        assert explanation.heat.max() == 1
        assert explanation.prediction.probabilities == pytest.approx(quick.predict(clip).probabilities, abs=0.01)


def test_int8_needs_a_cpu(checkpoint: Path) -> None:
    network = Recognizer.from_pretrained(checkpoint, device="cpu").loaded.network
    elsewhere = copy.deepcopy(network)
    module: torch.nn.Module = elsewhere
    module.to("meta")
    with pytest.raises(ModelError, match="int8 needs a CPU, and the model is on meta: use another dtype or device"):
        optimize_for_inference(elsewhere, "int8")


def test_dtype_of_an_int8_recognizer(checkpoint: Path) -> None:
    recognizers = {
        dtype: Recognizer.from_pretrained(checkpoint, device="cpu", dtype=dtype) for dtype in ("bfloat16", "int8")
    }
    assert {dtype: each.dtype for dtype, each in recognizers.items()} == {"bfloat16": "bfloat16", "int8": "int8"}
    network = recognizers["int8"].loaded.network
    assert sum(isinstance(module, Int8Linear) for module in network.modules()) > 4
    assert not isinstance(network.classifier, Int8Linear)
    assert precision_of(network) == "int8"
