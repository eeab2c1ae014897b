"""Maps against the dense matrices they stand for; fused against eager attention."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    PreTrainedModel,
    TimesformerConfig,
    TimesformerForVideoClassification,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VivitConfig,
    VivitForVideoClassification,
    VJEPA2Config,
)
from transformers.models.videomae.modeling_videomae import VideoMAESelfAttention
from transformers.models.vivit.modeling_vivit import VivitAttention

from hmdb import ModelError
from hmdb.explain.attribution import class_relevance, rollout, to_heatmap
from hmdb.model.attention import recording
from hmdb.model.families import patch_grid, use_recorded_attention

SIDE, PATCH, TIMES, LABELS = 24, 8, 4, 5  # 3 x 3 patches
PATCHES = (SIDE // PATCH) ** 2
SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}


def timesformer(attention_type: str = "divided_space_time", **settings: Any) -> PreTrainedModel:
    config = TimesformerConfig(
        image_size=SIDE, patch_size=PATCH, num_frames=TIMES, attention_type=attention_type, **SIZES, **settings
    )
    config.num_labels = LABELS
    return ready(TimesformerForVideoClassification(config))


def vivit(**settings: Any) -> PreTrainedModel:
    config = VivitConfig(image_size=SIDE, num_frames=2 * TIMES, tubelet_size=[2, PATCH, PATCH], **SIZES, **settings)
    config.num_labels = LABELS
    return ready(VivitForVideoClassification(config))


def videomae(**settings: Any) -> PreTrainedModel:
    config = VideoMAEConfig(image_size=SIDE, num_frames=2 * TIMES, patch_size=PATCH, **SIZES, **settings)
    config.num_labels = LABELS
    return ready(VideoMAEForVideoClassification(config))


def ready(network: PreTrainedModel) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():  # large weights, so that attention is far from even
            scale = 0.3 if parameter.ndim > 1 else 0.05
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    network.train(mode=False)
    return network


def clip_for(network: PreTrainedModel, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (1, network.config.num_frames, 3, SIDE, SIDE)
    return torch.randn(shape, generator=generator).to(next(network.parameters()).dtype)


NETWORKS: dict[str, Callable[[], PreTrainedModel]] = {
    "divided": timesformer,
    "joint": lambda: timesformer("joint_space_time"),
    "vivit": vivit,
    "videomae": videomae,
}
FLOAT32_SOFTMAX = ("vivit", "videomae")  # in transformers, also in a network of doubles


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads on a busy machine wait for each other far longer than these networks compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=NETWORKS, name="network")
def any_network(request: pytest.FixtureRequest) -> PreTrainedModel:
    return NETWORKS[request.param]()


class Eager:
    """The attention of every module, full, (B, H, N, N), and its gradient, from plain eager passes."""

    def __init__(self, network: PreTrainedModel, pixel_values: torch.Tensor, label: int | None) -> None:
        self.weights: dict[str, torch.Tensor] = {}
        hooks = []
        if network.config.model_type == "timesformer":
            for name, module in network.named_modules():
                if name.endswith("attn_drop"):
                    hooks.append(module.register_forward_hook(self._keep_output(name)))
            self.logits = network(pixel_values).logits
        else:
            network.set_attn_implementation("eager")
            for name, module in network.named_modules():
                if isinstance(module, VivitAttention | VideoMAESelfAttention):
                    hooks.append(module.register_forward_hook(self._keep_second_output(name)))
            self.logits = network(pixel_values).logits
        for hook in hooks:
            hook.remove()
        names = list(self.weights)
        if label is not None:
            gradients = torch.autograd.grad(self.logits[0, label], [self.weights[name] for name in names])
            self.gradients = dict(zip(names, gradients, strict=True))

    def _keep_output(self, name: str) -> Callable[..., None]:
        return lambda module, args, output: self.weights.__setitem__(name, output)

    def _keep_second_output(self, name: str) -> Callable[..., None]:
        return lambda module, args, output: self.weights.__setitem__(name, output[1])


def dense(network: PreTrainedModel, pixel_values: torch.Tensor, label: int | None) -> torch.Tensor:
    """The row of what answers of the product of all layers' matrices, (1 + P * T)^2 with a class token: (T, P).

    Each effective attention, and where a label is given its gradient, is written out token by token.
    """
    eager = Eager(network, pixel_values, label)
    class_token = network.config.model_type != "videomae"
    eye = torch.eye(class_token + PATCHES * TIMES, dtype=torch.float64)

    def mixed(full: torch.Tensor) -> torch.Tensor:
        return eye + full if label is not None else (eye + full) / 2

    def averaged(name: str) -> torch.Tensor:
        weights = eager.weights[name].detach()
        return (weights if label is None else (weights * eager.gradients[name]).clamp(min=0)).mean(1)

    def token(time: int, patch: int) -> int:
        return 1 + patch * TIMES + time

    product = eye
    for layer in range(network.config.num_hidden_layers):
        if network.config.model_type in FLOAT32_SOFTMAX:
            name = {"vivit": "vivit.layers.{}.attention", "videomae": "videomae.encoder.layer.{}.attention.attention"}
            product = mixed(averaged(name[network.config.model_type].format(layer))[0].double()) @ product
            continue
        prefix = f"timesformer.encoder.layer.{layer}."
        space = averaged(prefix + "attention.attention.attn_drop")
        if network.config.attention_type == "joint_space_time":
            product = mixed(space[0]) @ product
            continue
        over_time = torch.zeros_like(eye)
        over_time[0, 0] = 1 if label is None else 0  # the class token passes by
        time = averaged(prefix + "temporal_attention.attention.attn_drop")
        for patch in range(PATCHES):
            for here in range(TIMES):
                for there in range(TIMES):
                    over_time[token(here, patch), token(there, patch)] = time[patch, here, there]
        over_space = torch.zeros_like(eye)
        share = 1 / TIMES if label is None else 1
        for here in range(TIMES):
            over_space[0, 0] += share * space[here, 0, 0]
            for patch in range(PATCHES):
                over_space[0, token(here, patch)] = share * space[here, 0, 1 + patch]
                over_space[token(here, patch), 0] = space[here, 1 + patch, 0]
                for other in range(PATCHES):
                    over_space[token(here, patch), token(here, other)] = space[here, 1 + patch, 1 + other]
        product = mixed(over_space) @ mixed(over_time) @ product
    if label is None:
        torch.testing.assert_close(product.sum(1), torch.ones(len(eye), dtype=torch.float64))
    if not class_token:
        return product.mean(0).view(TIMES, PATCHES)
    patches = product[0, 1:]
    if network.config.model_type == "vivit":
        return patches.view(TIMES, PATCHES)
    return patches.view(PATCHES, TIMES).T


def test_rollout_matches_the_dense_product(network: PreTrainedModel) -> None:
    network = network.double()
    pixel_values = clip_for(network)
    expected = dense(network, pixel_values, None).numpy()
    logits, relevance = rollout(network, pixel_values)
    assert relevance.shape == (TIMES, 3, 3)
    exact = 1e-6 if network.config.model_type in FLOAT32_SOFTMAX else 1e-12
    np.testing.assert_allclose(relevance.reshape(TIMES, PATCHES), expected, atol=exact)
    np.testing.assert_allclose(logits, network(pixel_values).logits[0].detach(), atol=exact)
    if network.config.model_type == "videomae":
        assert relevance.sum() == pytest.approx(1)
    else:
        assert 0 < relevance.sum() < 1  # the rest stays on the class token


@pytest.mark.parametrize("label", range(LABELS))
def test_class_relevance_matches_the_dense_product(network: PreTrainedModel, label: int) -> None:
    network = network.double()
    pixel_values = clip_for(network)
    expected = dense(network, pixel_values, label).numpy()
    logits, relevance = class_relevance(network, pixel_values, label)
    assert np.isfinite(relevance).all()
    assert relevance.max() > 0
    scale = expected.max()
    exact = 5e-6 if network.config.model_type in FLOAT32_SOFTMAX else 1e-10
    np.testing.assert_allclose(relevance.reshape(TIMES, PATCHES) / scale, expected / scale, atol=exact)
    np.testing.assert_allclose(logits, network(pixel_values).logits[0].detach(), atol=exact)


def test_class_relevance_defaults_to_the_predicted_label(network: PreTrainedModel) -> None:
    pixel_values = clip_for(network)
    logits, relevance = class_relevance(network, pixel_values)
    np.testing.assert_array_equal(relevance, class_relevance(network, pixel_values, int(logits.argmax()))[1])
    others = [class_relevance(network, pixel_values, label)[1] for label in range(LABELS)]
    assert len({other.tobytes() for other in others}) == LABELS


def test_fused_logits_match_eager(network: PreTrainedModel) -> None:
    pixel_values = clip_for(network)
    before = network(pixel_values).logits
    names = list(network.state_dict())
    assert use_recorded_attention(use_recorded_attention(network)) is network
    torch.testing.assert_close(network(pixel_values).logits, before, atol=1e-4, rtol=0)
    assert list(network.state_dict()) == names


def test_fused_gradients_match_eager() -> None:
    network = timesformer().double()
    pixel_values = clip_for(network)

    def gradients() -> list[torch.Tensor]:
        network.zero_grad()
        network(pixel_values).logits.logsumexp(-1).sum().backward()
        return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]

    eager = gradients()
    use_recorded_attention(network)
    torch.testing.assert_close(gradients(), eager, atol=1e-10, rtol=1e-8)


def test_dropout_only_in_training() -> None:
    network = use_recorded_attention(timesformer(attention_probs_dropout_prob=0.5))
    pixel_values = clip_for(network)
    torch.testing.assert_close(network(pixel_values).logits, network(pixel_values).logits)
    torch.manual_seed(0)
    network.train()
    assert not torch.allclose(network(pixel_values).logits, network(pixel_values).logits)


def test_output_attentions_still_works() -> None:
    network = use_recorded_attention(timesformer())
    attentions = network(clip_for(network), output_attentions=True).attentions
    assert [tuple(attention.shape) for attention in attentions] == [(TIMES, 4, 10, 10)] * 3
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(TIMES, 4, 10))


def test_bfloat16_maps_are_close_to_float32(network: PreTrainedModel) -> None:
    pixel_values = clip_for(network)
    full = rollout(network, pixel_values)[1]
    module: torch.nn.Module = network
    module.to(torch.bfloat16)
    half = rollout(network, pixel_values.to(torch.bfloat16))[1]
    assert half.dtype == np.float32
    assert np.corrcoef(full.ravel(), half.ravel())[0, 1] > 0.9


def test_no_hooks_remain_after_an_error(network: PreTrainedModel) -> None:
    use_recorded_attention(network)
    before = {name: dict(vars(module)) for name, module in network.named_modules()}
    pixel_values = clip_for(network)
    rollout(network, pixel_values)
    class_relevance(network, pixel_values)
    with pytest.raises(RuntimeError), recording(lambda attended: 1 / 0):
        raise RuntimeError
    with pytest.raises(ValueError, match="fell over"):
        rollout(network, Falling(pixel_values))
    network(pixel_values)  # a recording that stayed would divide by zero
    assert {name: dict(vars(module)) for name, module in network.named_modules()} == before
    assert all(parameter.grad is None for parameter in network.parameters())


class Falling(torch.Tensor):
    """A clip on which a pass falls over."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            raise ValueError("fell over")
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


def test_threads_can_share_a_network(network: PreTrainedModel) -> None:
    clips = [clip_for(network, seed) for seed in range(6)]
    expected = [(rollout(network, clip)[1], class_relevance(network, clip, 1)[1]) for clip in clips]
    plain = [network(clip).logits for clip in clips]
    start = threading.Barrier(len(clips))
    wrong: list[str] = []

    def visit(index: int) -> None:
        start.wait()
        for _ in range(5):
            if index % 3 == 0 and not np.array_equal(rollout(network, clips[index])[1], expected[index][0]):
                wrong.append(f"rollout {index}")
            if index % 3 == 1 and not np.array_equal(class_relevance(network, clips[index], 1)[1], expected[index][1]):
                wrong.append(f"class {index}")
            if index % 3 == 2 and not torch.equal(network(clips[index]).logits, plain[index]):
                wrong.append(f"plain {index}")

    threads = [threading.Thread(target=visit, args=(index,)) for index in range(len(clips))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_heatmap_is_scaled_over_the_clip() -> None:
    relevance = np.array([[[1.0, 2.0]], [[3.0, 5.0]]])
    heat, importance = to_heatmap(relevance, frames=2)
    np.testing.assert_allclose(heat[:, 0], [[0, 0.25], [0, 0.25], [0.5, 1], [0.5, 1]])
    np.testing.assert_allclose(importance, np.array([3, 3, 8, 8]) / 22)
    assert heat.dtype == importance.dtype == np.float32


def test_constant_and_empty_maps() -> None:
    heat, importance = to_heatmap(np.zeros((4, 2, 2)))
    assert not heat.any()
    np.testing.assert_allclose(importance, 0.25)


def test_networks_without_a_map_are_refused() -> None:
    with pytest.raises(ModelError, match="space_only"):
        rollout(timesformer("space_only"), torch.zeros(1, TIMES, 3, SIDE, SIDE))
    with pytest.raises(ModelError, match="without mean pooling"):
        rollout(videomae(use_mean_pooling=False), torch.zeros(1, 2 * TIMES, 3, SIDE, SIDE))
    with pytest.raises(ModelError, match="vjepa2 models are not supported, only timesformer, vivit"):
        patch_grid(VJEPA2Config())
