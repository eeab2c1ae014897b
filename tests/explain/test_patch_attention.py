"""The attention of a patch, compared with transformers' eager attention."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from hmdb.explain.patch_attention import most_relevant, patch_attention
from hmdb.model.families import patch_grid
from hmdb.recognizer import Recognizer
from tests.explain.test_attribution import SIDE, TIMES, timesformer, videomae, vivit

PLACE = (2, 1, 2)
JOINT: dict[str, Callable[[], PreTrainedModel]] = {
    "timesformer": lambda: timesformer("joint_space_time"),
    "vivit": vivit,
    "videomae": videomae,
}


def clip(network: PreTrainedModel) -> torch.Tensor:
    """(1, frames, 3, SIDE, SIDE)."""
    frames = TIMES * patch_grid(network.config).frames
    return torch.randn((1, frames, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))


def test_space_attention_matches_transformers() -> None:
    eager = timesformer()
    pixels = clip(eager)
    with torch.no_grad():
        said = eager(pixel_values=pixels, output_attentions=True).attentions  # spatial alone, (T, heads, 1 + P, 1 + P)
    for block in range(3):
        found = patch_attention(eager, pixels, PLACE, block=block)
        expected = said[block][2].mean(dim=0)[1 + 1 * 3 + 2]
        np.testing.assert_allclose(found.over_space.ravel(), expected[1:].numpy(), atol=1e-6)
        assert found.over_space.sum() + float(expected[0]) == pytest.approx(1, abs=1e-5)
        assert found.divided


def test_time_attention_matches_the_module() -> None:
    network = timesformer()
    pixels = clip(network)
    weighed: list[torch.Tensor] = []
    base: Any = network.base_model
    module = base.encoder.layer[1].temporal_attention.attention.attn_drop
    hook = module.register_forward_hook(lambda _, inputs, __: weighed.append(inputs[0]))  # (P, heads, T, T)
    with torch.no_grad():
        network(pixel_values=pixels)
    hook.remove()
    found = patch_attention(network, pixels, PLACE)
    assert (found.block, found.num_blocks) == (1, 3)
    np.testing.assert_allclose(found.over_time, weighed[0][1 * 3 + 2].mean(dim=0)[2].numpy(), atol=1e-6)
    assert found.over_time.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", JOINT)
def test_joint_attention_has_both_parts(kind: str) -> None:
    network = JOINT[kind]()
    eager = copy.deepcopy(network)
    pixels = clip(network)
    found = patch_attention(network, pixels, PLACE)
    assert not found.divided
    assert found.over_time.shape == (TIMES,)
    assert found.over_space.shape == (3, 3)
    assert 0 < found.over_time.sum() + found.over_space.sum() - found.over_time[2] < 1
    if kind != "timesformer":
        eager.set_attn_implementation("eager")
    with torch.no_grad():
        weights = eager(pixel_values=pixels, output_attentions=True).attentions[1][0].mean(dim=0)  # (N, N)
    tokens = weights[-TIMES * 9 :, -TIMES * 9 :]  # without the class token
    by_place = tokens.view(9, TIMES, 9, TIMES) if kind == "timesformer" else tokens.view(TIMES, 9, TIMES, 9)
    if kind != "timesformer":
        by_place = by_place.permute(1, 0, 3, 2)  # (P, T, P, T)
    np.testing.assert_allclose(found.over_time, by_place[5, 2, 5].numpy(), atol=1e-6)
    np.testing.assert_allclose(found.over_space.ravel(), by_place[5, 2, :, 2].numpy(), atol=1e-6)


def test_missing_blocks_and_places_are_refused() -> None:
    network = timesformer()
    with pytest.raises(ValueError, match="there are 3 blocks, from 0, and no block 3"):
        patch_attention(network, clip(network), PLACE, block=3)
    with pytest.raises(ValueError, match="there is no place"):
        patch_attention(network, clip(network), (TIMES, 0, 0))


def test_patch_is_the_most_relevant_one(recognizer: Recognizer, video: Path) -> None:
    explanation = recognizer.explain(video)
    found = recognizer.patch_attention(explanation)
    assert explanation.heat[found.place] == 1
    assert most_relevant(np.zeros((2, 2, 2))) == (0, 0, 0)
    assert found.over_time.shape == (8,)
    moved = dataclasses.replace(explanation, heat=np.roll(explanation.heat, 1, axis=0))
    assert recognizer.patch_attention(moved).place != found.place


def test_model_input_is_resized_and_cropped(recognizer: Recognizer, video: Path) -> None:
    seen = recognizer.model_input(recognizer.read(video))
    side = recognizer.loaded.network.config.image_size
    assert seen.shape == (8, side, side, 3)
    assert seen.dtype == np.uint8
