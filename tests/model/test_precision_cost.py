from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune.training.checkpoint import write_precision_cost
from hmdb.errors import ModelError
from hmdb.model.layers import InferenceLinear, OneDnnLinear
from hmdb.model.loading import BUNDLED, load
from hmdb.model.optimize import MatmulKernel, fastest_kernel
from hmdb.model.precision_cost import PrecisionCost, read_costs
from hmdb.recognizer import Recognizer
from tests.support.checkpoints import write_checkpoint

COST: dict[str, Any] = {"top1_change": -0.5, "clips": 200, "part": "val"}


@pytest.mark.parametrize(
    ("dtype", "change", "within_tolerance"),
    [
        ("int8", 0.5, True), ("int8", -1.0, True), ("int8", -1.1, False), ("int8", -40, False),
        ("bfloat16", 2, True), ("bfloat16", -0.5, True), ("bfloat16", -0.6, False),
    ],
)  # fmt: skip
def test_tolerated_loss(dtype: str, change: float, within_tolerance: bool) -> None:
    assert PrecisionCost(top1_change=change, clips=200, part="val").within_tolerance(dtype) is within_tolerance


def test_cost_survives_json() -> None:
    known: dict[str, Any] = {"same_top1": 190, "relative_time": 0.6}
    for more in ({}, known):
        cost = PrecisionCost(**COST, **more)
        assert cost.to_dict() == COST | more
        assert read_costs({"bfloat16": cost.to_dict(), "dtype": "float32"}) == {"bfloat16": cost}
    with pytest.raises(ModelError, match=r"int8 in config\.json is not supported by this version"):
        read_costs({"int8": {"clips": 3}})


@pytest.fixture(params=["a CPU that is faster in bfloat16", "one that is not", "one without it"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """A function from the cost to the dtype that "auto" chooses on that CPU."""
    able, rounded = "without" not in request.param, 0.5 if "faster" in request.param else 1.5

    def seconds(products: list[MatmulKernel], *_: int) -> dict[MatmulKernel, float]:
        return {each: rounded if each.dtype.itemsize == 2 else 1.0 for each in products}

    monkeypatch.setattr("hmdb.model.optimize.time_kernels", seconds)
    monkeypatch.setattr("hmdb.model.optimize.has_fast_bfloat16", lambda: able)
    fastest_kernel.cache_clear()
    yield lambda dtype: dtype if able and rounded < 1 else "float32"
    fastest_kernel.cache_clear()


@pytest.mark.parametrize(("change", "dtype"), [(0.0, "bfloat16"), (-0.5, "bfloat16"), (-0.6, "float32")])
def test_auto_is_bfloat16_if_accurate_and_faster(
    change: float, dtype: str, tmp_path: Path, machine: Callable[[str], str]
) -> None:
    folder = write_checkpoint(tmp_path)
    assert Recognizer.from_pretrained(folder, device="cpu").dtype == "float32"  # narrow, and not measured
    write_precision_cost(folder, "bfloat16", PrecisionCost(top1_change=change, clips=200, part="val"))
    assert Recognizer.from_pretrained(folder, device="cpu").dtype == machine(dtype)
    for asked in ("float32", "bfloat16"):
        recognizer = Recognizer.from_pretrained(folder, device="cpu", dtype=asked)
        assert recognizer.dtype == asked
        products = {type(each) for each in recognizer.loaded.network.modules() if isinstance(each, InferenceLinear)}
        assert len(products) == 1
        assert products <= {InferenceLinear, OneDnnLinear}


def test_bundled_checkpoint_records_both_costs() -> None:
    loaded = load(BUNDLED, device="cpu")
    assert loaded.precision_costs["bfloat16"].within_tolerance("bfloat16")
    assert loaded.int8_unavailable_reason
    assert loaded.to_dict()["bfloat16"]["cost"] == loaded.precision_costs["bfloat16"].to_dict()
