from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.networks.start import start
from finetune.training.checkpoint import save_checkpoint
from hmdb.errors import DataError


def begin(init: str, classes: tuple[str, ...]) -> torch.nn.Linear:
    origin = start(init, classes, sampler=None, extension=None, paper_pixels=True)
    head = origin.network.classifier
    assert isinstance(head, torch.nn.Linear)
    return head


def test_a_head_is_kept_only_for_the_same_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    origin = start("scratch:tiny", ("a", "b"), sampler=None, extension=None, paper_pixels=True)
    first: Any = origin.network.classifier
    torch.nn.init.ones_(first.weight)
    save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, tmp_path)
    assert begin(str(tmp_path), ("a", "b")).weight.eq(1).all()
    for classes in (("b", "a"), ("a", "c"), ("a", "b", "c")):
        head = begin(str(tmp_path), classes)
        assert not head.weight.eq(1).any()
        assert head.weight.shape == (len(classes), 32)


def test_sizes_by_name() -> None:
    assert begin("scratch:timesformer-tiny", tuple("abc")).weight.shape == (3, 32)
    assert begin("scratch:tiny", tuple("abc")).weight.shape == (3, 32)
    with pytest.raises(DataError, match="known are timesformer-tiny, timesformer-small"):
        begin("scratch:gigantic", ("a", "b"))
