import pytest
import torch

from finetune.models.initial import load_initial
from finetune.models.layerwise import depths, freeze, scale_rates
from hmdb.errors import DataError


@pytest.fixture(params=["timesformer-tiny", "vivit-tiny", "videomae-tiny"])
def network(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    name = f"scratch:{request.param}"
    return load_initial(name, ["a", "b"], sampler=None, extension=None, paper_pixels=True).network  # of two blocks


def test_the_first_blocks_and_the_embeddings_are_frozen(network) -> None:  # type: ignore[no-untyped-def]
    freeze(network, 1)
    learning = {name for name, each in network.named_parameters() if each.requires_grad}
    depth = depths(network)
    assert learning == {name for name in depth if depth[name] <= 1}
    assert 0 < len(learning) < len(depth)


def test_nothing_is_frozen_unasked_and_no_more_than_there_is(network) -> None:  # type: ignore[no-untyped-def]
    freeze(network, 0)
    assert all(each.requires_grad for each in network.parameters())
    with pytest.raises(DataError, match="--freeze-blocks 3 is more than the 2 blocks"):
        freeze(network, 3)


def test_depths_count_from_the_output(network) -> None:  # type: ignore[no-untyped-def]
    found = depths(network)
    assert set(found.values()) == {0, 1, 2, 3}
    assert found["classifier.weight"] == 0
    assert {depth for name, depth in found.items() if "embeddings" in name} == {3}


def test_each_block_learns_as_fast_as_a_share_of_the_next(network) -> None:  # type: ignore[no-untyped-def]
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, each in network.named_parameters():
        (plain if name.endswith("bias") else decayed).append(each)
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    scale_rates(optimizer, network, 0.5)
    depth_of = {id(each): depths(network)[name] for name, each in network.named_parameters()}
    seen = []
    for group in optimizer.param_groups:
        seen += group["params"]
        assert {group["lr"]} == {0.5 ** depth_of[id(each)] for each in group["params"]}
        assert {group["weight_decay"]} == {0.1 if id(each) in map(id, decayed) else 0.0 for each in group["params"]}
    assert sorted(map(id, seen)) == sorted(id(each) for each in network.parameters())
