from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.models.initial import load_initial
from finetune.training.checkpoint import save_checkpoint
from hmdb.errors import DataError, ModelError
from hmdb.model.loading import BUNDLED
from tests.support.hub import HubServer


def begin(init: str, classes: tuple[str, ...]) -> torch.nn.Linear:
    origin = load_initial(init, classes, sampler=None, extension=None, paper_pixels=True)
    head = origin.network.classifier
    assert isinstance(head, torch.nn.Linear)
    return head


def test_a_head_is_kept_only_for_the_same_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    origin = load_initial("scratch:tiny", ("a", "b"), sampler=None, extension=None, paper_pixels=True)
    first: Any = origin.network.classifier
    torch.nn.init.ones_(first.weight)
    save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, tmp_path)
    assert begin(str(tmp_path), ("a", "b")).weight.eq(1).all()
    for classes in (("b", "a"), ("a", "c"), ("a", "b", "c")):
        head = begin(str(tmp_path), classes)
        assert not head.weight.eq(1).any()
        assert head.weight.shape == (len(classes), 32)


def test_the_licence_is_read_from_the_card_in_a_folder_and_on_the_hub(hub: HubServer, tmp_path: Path) -> None:
    def licence(init: str) -> str | None:
        return load_initial(init, ("a", "b"), sampler=None, extension=None, paper_pixels=True).licence

    origin = load_initial("scratch:tiny", ("a", "b"), sampler=None, extension=None, paper_pixels=True)
    save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, tmp_path / "tiny")
    assert licence(str(tmp_path / "tiny")) is None
    (tmp_path / "tiny" / "README.md").write_text("---\nlicense: gpl-3.0\n---\n")
    assert licence(str(tmp_path / "tiny")) == "gpl-3.0"
    hub.add("someone/model", tmp_path / "tiny")
    assert licence("someone/model") == "gpl-3.0"
    hub.broken["GET /api/models/"] = 0
    assert licence("someone/model") is None, "it was downloaded before, and the Hub is out of reach"


def test_without_the_hub_local_weights_are_suggested(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.broken[".*"] = 0
    told = r"^someone/model cannot be downloaded: the Hub cannot be reached. Start from local weights"
    for place, shown in ((BUNDLED.parents[1], Path("hmdb/bundled")), (tmp_path, BUNDLED)):
        monkeypatch.chdir(place)
        with pytest.raises(ModelError, match=told) as caught:
            begin("someone/model", ("a", "b"))
        assert str(caught.value).endswith(f"--init {shown}.")


def test_sizes_by_name() -> None:
    assert begin("scratch:timesformer-tiny", tuple("abc")).weight.shape == (3, 32)
    assert begin("scratch:tiny", tuple("abc")).weight.shape == (3, 32)
    with pytest.raises(DataError, match="known are timesformer-tiny, timesformer-small"):
        begin("scratch:gigantic", ("a", "b"))
