from __future__ import annotations

from pathlib import Path

import pytest

from hmdb.batch_inference.job import precision
from hmdb.errors import ModelError
from hmdb.model.loading import load


@pytest.mark.parametrize(
    ("dtype", "device", "decided", "taken"),
    [
        ("auto", "cpu", None, "float32"),  # what is measured for so narrow a network
        ("auto", "cpu", "bfloat16", "bfloat16"),  # what another machine measured when the job began
        ("int8", "cpu", "float32", "int8"),  # which the folder then refuses
        ("auto", "cuda", None, "float32"),
        ("bfloat16", "cuda", None, "bfloat16"),
    ],
)
def test_the_precision_is_decided_once(
    dtype: str, device: str, decided: str | None, taken: str, checkpoint: Path
) -> None:
    assert precision(load(checkpoint, device="cpu"), dtype, device, decided) == taken


@pytest.mark.parametrize(("dtype", "device"), [("int8", "cuda"), ("half", "cuda"), ("half", "cpu")])
def test_a_precision_that_cannot_be_is_refused_before_anything_starts(
    dtype: str, device: str, checkpoint: Path
) -> None:
    with pytest.raises(ModelError, match="dtype must be"):
        precision(load(checkpoint, device="cpu"), dtype, device, None)
