from __future__ import annotations

from pathlib import Path

import pytest

from hmdb.batch_inference.job import resolve_dtype
from hmdb.errors import ModelError
from hmdb.model.loading import load


@pytest.mark.parametrize(
    ("dtype", "device", "previous", "resolved"),
    [
        ("auto", "cpu", None, "float32"),  # measured as fastest for so narrow a network
        ("auto", "cpu", "bfloat16", "bfloat16"),  # measured by another machine when the job began
        ("int8", "cpu", "float32", "int8"),  # the folder refuses it later
        ("auto", "cuda", None, "float32"),
        ("bfloat16", "cuda", None, "bfloat16"),
    ],
)
def test_the_dtype_is_resolved_once_per_job(
    dtype: str, device: str, previous: str | None, resolved: str, checkpoint: Path
) -> None:
    assert resolve_dtype(load(checkpoint, device="cpu"), dtype, device, previous) == resolved


@pytest.mark.parametrize(("dtype", "device"), [("int8", "cuda"), ("half", "cuda"), ("half", "cpu")])
def test_an_unsupported_dtype_is_refused(dtype: str, device: str, checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="dtype must be"):
        resolve_dtype(load(checkpoint, device="cpu"), dtype, device, None)
