"""Loading the page's models in the background."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from finetune.training.checkpoint import write_precision_cost
from hmdb.model.precision_cost import PrecisionCost
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.model_loader import BackgroundModel, load_recognizer
from hmdb.recognizer import Recognizer
from tests.page.conftest import SETTINGS


def test_a_model_loads_once(recognizer: Recognizer) -> None:
    calls: list[int] = []

    def load() -> Recognizer:
        calls.append(1)
        return recognizer

    loading = BackgroundModel(load)
    assert [loading.wait() for _ in range(3)] == [recognizer] * 3
    assert calls == [1]


@pytest.mark.parametrize(
    ("change", "dtype", "note"),
    [
        (-1.0, "int8", None),
        (-1.3, "float32", "int8 is not in use: copy loses 1.3 points of top-1 with it on 225 val clips, more than 1."),
        (None, "float32", "int8 is not in use: its cost for copy has not been measured."),
    ],
)
def test_int8_is_refused_to_checkpoints_that_lose_much(
    change: float | None,
    dtype: str,
    note: str | None,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    cost = None if change is None else PrecisionCost(top1_change=change, clips=225, part="val")
    if cost:
        write_precision_cost(copy, "int8", cost)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    do = Handlers(BackgroundModel(lambda: load_recognizer(str(copy), "int8")), None, SETTINGS)
    model = do.model()
    assert model["dtype"] == dtype
    assert model["int8"] == {"offered": note is None, "cost": cost and cost.to_dict()}
    assert model["notes"] == ([note] if note else [])
    assert caplog.messages == model["notes"]
    assert ("int8 is not in use" in do.describe()[0]) is bool(note)
