import copy
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, TimesformerConfig, VideoMAEConfig, VivitConfig
from transformers import TimesformerForVideoClassification as Timesformer
from transformers import VideoMAEForVideoClassification as VideoMAE
from transformers import VivitForVideoClassification as Vivit
from transformers.activations import ACT2FN

from hmdb.errors import ModelError
from hmdb.explain.attribution import class_relevance, rollout
from hmdb.machine import available_cores
from hmdb.model.attention import PRODUCT_WEIGHTS, _attention_by_matmul, fused_attention, recording
from hmdb.model.families import use_recorded_attention
from hmdb.model.families.base import center_keys
from hmdb.model.layers import InferenceLinear, Mlp, OneDnnLinear
from hmdb.model.optimize import (
    MatmulKernel,
    fastest_kernel,
    has_fast_bfloat16,
    optimize_for_inference,
    time_kernels,
)
from hmdb.recognizer import Recognizer
from tests.support.checkpoints import write_checkpoint

SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 48,
    "num_frames": 4,
    "num_labels": 5,
}


@pytest.fixture(params=["timesformer", "joint timesformer", "vivit", "videomae"])
def network(request: pytest.FixtureRequest) -> PreTrainedModel:
    """With biases that are not zero, and logits that differ by about 1."""
    torch.manual_seed(0)
    kind = "joint_space_time" if "joint" in request.param else "divided_space_time"
    made: PreTrainedModel
    if request.param == "vivit":
        made = Vivit(VivitConfig(**SIZES, tubelet_size=[2, 16, 16]))
    elif request.param == "videomae":
        made = VideoMAE(VideoMAEConfig(**SIZES))
    else:
        made = Timesformer(TimesformerConfig(**SIZES, attention_type=kind))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    made.train(mode=False)
    return made


@pytest.fixture
def clip() -> torch.Tensor:
    return torch.randn(2, 4, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def logits(network: PreTrainedModel, clip: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = network(pixel_values=clip).logits
    return found


def test_float32_logits_do_not_change(network: PreTrainedModel, clip: torch.Tensor) -> None:
    before = logits(network, clip)
    assert before.std() > 0.1
    torch.testing.assert_close(
        logits(optimize_for_inference(use_recorded_attention(network), "float32"), clip), before, atol=1e-4, rtol=0
    )


def test_network_with_recorded_attention_can_be_saved(
    network: PreTrainedModel, clip: torch.Tensor, tmp_path: Path
) -> None:
    before = logits(network, clip)
    use_recorded_attention(network).save_pretrained(tmp_path)
    assert "recorded" not in (tmp_path / "config.json").read_text()
    again: PreTrainedModel = type(network).from_pretrained(tmp_path).train(mode=False)
    torch.testing.assert_close(logits(again, clip), before, atol=1e-4, rtol=0)


def test_bfloat16_logits_are_close_and_float32(network: PreTrainedModel, clip: torch.Tensor) -> None:
    before = logits(network, clip)
    after = logits(optimize_for_inference(use_recorded_attention(network), "bfloat16"), clip)
    assert after.dtype == torch.float32
    torch.testing.assert_close(after, before, atol=0.05 * float(before.abs().max()), rtol=0)


@pytest.mark.parametrize("narrowest", [128, 384])  # hidden units, from which on bfloat16 lies between the products
def test_int8_logits_are_close_and_float32(
    network: PreTrainedModel, clip: torch.Tensor, narrowest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmdb.model.optimize.MIN_WIDTH_FOR_BF16", narrowest)
    before = logits(network, clip)
    after = logits(optimize_for_inference(use_recorded_attention(network), "int8"), clip)
    assert after.dtype == torch.float32
    assert float((after - before).norm() / before.norm()) < 0.1


@pytest.mark.parametrize(("dtype", "alike"), [("float32", 0.99999), ("bfloat16", 0.98), ("int8", 0.9)])
def test_optimizing_does_not_change_maps(
    network: PreTrainedModel, clip: torch.Tensor, dtype: str, alike: float
) -> None:
    quick = optimize_for_inference(use_recorded_attention(copy.deepcopy(network)), dtype)
    for expected, found in (
        (rollout(network, clip[:1])[1], rollout(quick, clip[:1])[1]),
        (class_relevance(network, clip[:1], label=1)[1], class_relevance(quick, clip[:1], label=1)[1]),
    ):
        both = torch.stack([torch.from_numpy(each).flatten() for each in (expected, found)])
        assert torch.corrcoef(both)[0, 1] > alike


def test_last_vivit_attention_has_one_query(clip: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = Vivit(VivitConfig(**SIZES, tubelet_size=[2, 16, 16])).train(mode=False)
    tokens = 1 + 2 * 3 * 3
    for quick, queries in ((False, [tokens, tokens]), (True, [tokens, 1])):
        if quick:
            optimize_for_inference(network, "float32")
        with recording(lambda attended: attended.query.shape[2]) as kept:
            logits(use_recorded_attention(network), clip)
        assert list(kept.values()) == queries


@pytest.mark.parametrize("kind", [InferenceLinear, OneDnnLinear])
def test_any_number_of_rows(kind: type[InferenceLinear]) -> None:
    layer = torch.nn.Linear(32, 48)
    for shape in ((32,), (0, 32), (2, 0, 32), (3, 1024, 32), (3, 1025, 32)):
        values = torch.randn(shape)
        layer.__class__ = torch.nn.Linear
        expected = layer(values)
        layer.__class__ = kind
        with torch.inference_mode():
            torch.testing.assert_close(layer(values), expected.detach())


@pytest.mark.parametrize("trained", [False, True])
def test_attention_by_matmul_in_blocks(trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = torch.randn(3, 2, 4, 50, 16, generator=torch.Generator().manual_seed(0)).unbind()
    whole = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.25)
    assert PRODUCT_WEIGHTS > 2 * 4 * 50 * 50
    with torch.enable_grad() if trained else torch.inference_mode():
        torch.testing.assert_close(_attention_by_matmul(query, key, value, 0.25), whole)
        for weights in (2 * 50 * 7, 2 * 4 * 50 * 7, 2 * 3 * 50 * 50):
            monkeypatch.setattr("hmdb.model.attention.PRODUCT_WEIGHTS", weights)
            torch.testing.assert_close(_attention_by_matmul(query, key, value, 0.25), whole)


@pytest.mark.parametrize("level", [0.0, 60.0, -60.0, 300.0, -300.0])  # of the scores of one query
def test_attention_by_matmul_with_large_scores(level: float) -> None:
    query, key, value = torch.randn(3, 1, 2, 20, 16, generator=torch.Generator().manual_seed(0)).unbind()
    query[0, 0, 5, 0] = level
    key[..., 0] = 4
    exact = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.25)
    with torch.inference_mode():
        found = _attention_by_matmul(query, key, value, 0.25)
        torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)
        calm = query.clone()
        calm[0, 0, 5, 0] = 0
        others = torch.arange(20) != 5  # what one query needs done again moves no other
        assert torch.equal(_attention_by_matmul(calm, key, value, 0.25)[:, :, others], found[:, :, others])


def test_bfloat16_network_compiles_to_one_graph(network: PreTrainedModel, clip: torch.Tensor) -> None:
    quick = optimize_for_inference(use_recorded_attention(network), "bfloat16")
    with torch.no_grad():
        traced = torch.export.export(quick, (), {"pixel_values": clip}).module()
        torch.testing.assert_close(traced(pixel_values=clip).logits, quick(pixel_values=clip).logits, atol=0.05, rtol=0)


def test_network_is_optimized_only_once(network: PreTrainedModel) -> None:
    quick = optimize_for_inference(use_recorded_attention(network), "float32")
    with pytest.raises(ModelError, match="already"):
        optimize_for_inference(quick, "bfloat16")


def test_centering_keys_does_not_change_attention() -> None:
    torch.manual_seed(0)
    norm, tokens = torch.nn.LayerNorm(32), torch.randn(10, 32)
    torch.nn.init.normal_(norm.bias)
    for bias in (True, False):
        projection = torch.nn.Linear(32, 48, bias=bias)
        before = projection(norm(tokens))
        with torch.no_grad():
            center_keys(projection, norm, slice(16, 32))
        lost = (before - projection(norm(tokens))).detach()
        torch.testing.assert_close(lost, lost[:1].expand_as(lost))
        assert float(lost[0, 16:32].abs().min()) > 0
        assert not torch.cat([lost[:, :16], lost[:, 32:]], dim=1).any()
        nothing = projection(norm(torch.ones(1, 32)))[0, 16:32].detach()
        torch.testing.assert_close(nothing, torch.zeros(16), atol=1e-6, rtol=0)


def test_shared_part_of_keys_does_not_hurt_bfloat16(network: PreTrainedModel, clip: torch.Tensor) -> None:
    """A softmax does not see it, but with it scores are large, and in bfloat16 large ones are whole numbers."""
    with torch.no_grad():
        for module in network.modules():
            for name, rows in (("qkv", slice(128, 256)), ("k_proj", slice(None)), ("key", slice(None))):
                if hasattr(module, name):
                    keys = getattr(module, name)
                    keys.bias = torch.nn.Parameter(torch.zeros(keys.out_features) if keys.bias is None else keys.bias)
                    keys.bias[rows] += 100
    before = logits(network, clip)
    after = logits(optimize_for_inference(use_recorded_attention(network), "bfloat16"), clip)
    torch.testing.assert_close(after, before, atol=0.05 * float(before.abs().max()), rtol=0)


@pytest.mark.parametrize("kind", [torch.nn.Linear, InferenceLinear, OneDnnLinear])
@pytest.mark.parametrize("activation", ["gelu", "gelu_fast", "gelu_new", "relu"])
@pytest.mark.parametrize("shape", [(16,), (0, 7, 16), (2, 7, 16), (2, 1025, 16)])
def test_mlp_as_one_module(kind: type[torch.nn.Linear], activation: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    rise, fall = torch.nn.Linear(16, 32), torch.nn.Linear(32, 16)
    hidden = torch.randn(shape)
    expected = fall(ACT2FN[activation](rise(hidden)))
    mlp = Mlp(rise, ACT2FN[activation], fall)
    rise.__class__ = fall.__class__ = kind
    mlp.fold_gelu(torch.float32)
    joined = isinstance(mlp.activation, torch.nn.Identity)
    assert joined == (kind is not torch.nn.Linear and activation != "relu")
    with torch.inference_mode():
        torch.testing.assert_close(mlp(hidden), expected.detach(), atol=1e-5, rtol=1e-5)
    grown = hidden.clone().requires_grad_()  # for maps, which need gradients
    torch.testing.assert_close(mlp(grown), expected, atol=1e-5, rtol=1e-5)
    assert torch.autograd.grad(mlp(grown).sum(), grown)[0].shape == hidden.shape


@pytest.mark.parametrize("tokens", [5, 300])  # by products, and by the fused kernel
def test_bfloat16_attention_gradients_match_float32(tokens: int) -> None:
    torch.manual_seed(0)
    exact = [torch.randn(2, 3, tokens, 8, requires_grad=True) for _ in range(3)]
    rounded = [part.detach().bfloat16().requires_grad_() for part in exact]
    weight = torch.randn(2, tokens, 24)
    gradients = []
    for query, key, value in (exact, rounded):
        loss = (fused_attention(torch.nn.Identity(), query, key, value, 0.0, 0.35) * weight).sum()
        gradients.append(torch.autograd.grad(loss, [query, key, value]))
    for one, other in zip(*gradients, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.float().flatten()]))[0, 1] > 0.999


EXACT, BY_TORCH, ROUNDED = (
    MatmulKernel(OneDnnLinear, torch.float32),
    MatmulKernel(InferenceLinear, torch.float32),
    MatmulKernel(OneDnnLinear, torch.bfloat16),
)


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float, float, float], None]]:
    """On a CPU where each product takes so long."""

    def set_to(exact: float, by_torch: float, rounded: float) -> None:
        fastest_kernel.cache_clear()
        times = {EXACT: exact, BY_TORCH: by_torch, ROUNDED: rounded}
        monkeypatch.setattr(
            "hmdb.model.optimize.time_kernels", lambda products, *_: {each: times[each] for each in products}
        )

    monkeypatch.setattr("hmdb.model.optimize.has_fast_bfloat16", lambda: True)
    yield set_to
    fastest_kernel.cache_clear()


@pytest.mark.parametrize(
    ("times", "chosen", "exact"),
    [
        ((2.0, 4.2, 1.0), ROUNDED, EXACT),  # an AMD, where MKL is slow
        ((2.0, 2.1, 3.4), EXACT, EXACT),  # an Intel whose instructions for bfloat16 are slow
        ((2.0, 1.95, 1.7), EXACT, EXACT),  # too close
        ((2.0, 1.7, 1.4), BY_TORCH, BY_TORCH),
    ],
)
def test_fastest_kernel_is_chosen(
    times: tuple[float, float, float],
    chosen: MatmulKernel,
    exact: MatmulKernel,
    takes: Callable[[float, float, float], None],
) -> None:
    takes(*times)
    assert fastest_kernel(8, 8, bfloat16=None) == chosen
    assert fastest_kernel(8, 8, bfloat16=False) == exact
    assert fastest_kernel(8, 8, bfloat16=True) == ROUNDED


def test_bfloat16_is_not_timed_without_instructions(
    takes: Callable[[float, float, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    takes(2.0, 4.0, 1.0)
    monkeypatch.setattr("hmdb.model.optimize.has_fast_bfloat16", lambda: False)
    assert fastest_kernel(8, 8, bfloat16=None) == EXACT


def test_timing_does_not_change_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread keeps for good the number that is torch's default when it first computes."""
    threads, seen = torch.get_num_threads(), dict[str, set[int]](own=set(), first=set())
    clock = time.thread_time

    def computes_first() -> None:
        torch.ones(64, 64) @ torch.ones(64, 64)
        seen["first"].add(torch.get_num_threads())

    def look() -> float:
        seen["own"].add(torch.get_num_threads())
        other = threading.Thread(target=computes_first)
        other.start()
        other.join()
        return clock()

    torch.set_num_threads(3)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(time, "thread_time", look)
            time_kernels([EXACT, BY_TORCH], 64, 96)
        assert seen == {"own": {1}, "first": {3}}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_kernels_are_timed() -> None:
    threads = torch.get_num_threads()
    assert all(0 < found < 60 for found in time_kernels([EXACT, BY_TORCH, ROUNDED], 64, 96).values())
    assert torch.get_num_threads() == threads
    assert has_fast_bfloat16() in {True, False}


@pytest.mark.parametrize(("rounded", "dtype"), [(1.0, torch.bfloat16), (3.0, torch.float32)])
def test_bfloat16_is_chosen_if_faster(
    network: PreTrainedModel,
    rounded: float,
    dtype: torch.dtype,
    takes: Callable[[float, float, float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hmdb.model.optimize.MIN_WIDTH_FOR_BF16", 128)
    takes(2.0, 4.0, rounded)
    quick = optimize_for_inference(use_recorded_attention(network))
    # all but the classifier; what is not a linear layer stays float32
    assert {parameter.dtype for parameter in quick.parameters()} == {torch.float32, dtype}
    assert quick.get_submodule("classifier").weight.dtype == torch.float32


def test_narrow_network_stays_float32(tmp_path: Path) -> None:
    narrow = Recognizer.from_pretrained(write_checkpoint(tmp_path), device="cpu").loaded.network
    assert {parameter.dtype for parameter in narrow.parameters()} == {torch.float32}


def test_unknown_dtype_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="must be one of auto, float32, bfloat16, int8, not 'float8'"):
        Recognizer.from_pretrained(checkpoint, dtype="float8")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({}, 64),
    ],
)
def test_available_cores_respect_the_container(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == cores
