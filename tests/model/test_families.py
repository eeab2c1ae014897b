"""Each family of networks end to end; tests/explain has tests of its maps."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from transformers.models.timesformer.modeling_timesformer import TimeSformerAttention

from finetune.models.initial import SCRATCH
from hmdb.model.families import FAMILIES
from hmdb.model.families.timesformer import ZeroTemporalAttention
from hmdb.model.loading import BUNDLED
from hmdb.recognizer import MAPS, Recognizer
from tests.support.checkpoints import write_checkpoint


@pytest.mark.parametrize("model_type", FAMILIES)
def test_checkpoint_predicts_and_explains(model_type: str, video: Path, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", f"scratch:{model_type}-tiny")
    assert json.loads((checkpoint / "config.json").read_text())["model_type"] == model_type
    exact = Recognizer.from_pretrained(checkpoint, device="cpu", dtype="float32")
    assert exact.loaded.clip_spec.sampler == FAMILIES[model_type].clip_spec.sampler
    answer = exact(video)
    for dtype in ("bfloat16", "int8"):
        rounded = Recognizer.from_pretrained(checkpoint, device="cpu", dtype=dtype)(video)
        assert max(rounded.probabilities) == pytest.approx(max(answer.probabilities), abs=0.01)
    for kind in MAPS:
        explanation = exact.explain(video, kind=kind)
        assert explanation.heat.shape[0] == exact.loaded.clip_spec.num_frames
        assert explanation.frame_importance.sum() == pytest.approx(1, abs=1e-5)
        assert np.ptp(explanation.heat) == 1


def test_official_videomae_weight_names_are_read(video: Path, tmp_path: Path) -> None:
    """They have biases of queries and values beside those layers, not in them."""
    checkpoint = write_checkpoint(tmp_path / "tiny", "scratch:videomae-tiny")
    names = set(load_file(checkpoint / "model.safetensors"))
    prefix = "videomae.encoder.layer.0.attention.attention."
    assert {prefix + name for name in ("q_bias", "v_bias", "query.weight")} <= names
    assert prefix + "query.bias" not in names
    assert len(Recognizer.from_pretrained(checkpoint, device="cpu")(video).labels) == 5


def test_networks_without_time_embeddings_do_not_see_order(video: Path) -> None:
    bundled = Recognizer.from_pretrained(BUNDLED, device="cpu", dtype="float32")
    clip = bundled.read(video)
    backwards = replace(clip, pixels=clip.pixels[::-1].copy())
    embeddings: Any = bundled.loaded.network.base_model.embeddings
    for spread, sees_order in ((0.0, False), (0.5, True)):
        embeddings.time_embeddings.data.normal_(std=spread)
        assert bundled.sees_order == sees_order
        change = np.abs(bundled.probabilities(backwards) - bundled.probabilities(clip)).max()
        assert (change > 1e-4) == sees_order


def test_skipping_zero_temporal_attention_changes_no_bit(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny")
    weights = load_file(checkpoint / "model.safetensors")
    names = [name for name in weights if "layer.0.temporal_dense" in name]
    save_file(weights | {name: weights[name] * 0 for name in names}, checkpoint / "model.safetensors", {"format": "pt"})
    skipping = Recognizer.from_pretrained(checkpoint, device="cpu", dtype="float32")
    layers: Any = FAMILIES["timesformer"].layers(skipping.loaded.network)
    kinds = [type(layer.temporal_attention) for layer in layers]
    assert kinds == [ZeroTemporalAttention, *[TimeSformerAttention] * (len(kinds) - 1)]
    monkeypatch.setattr(ZeroTemporalAttention, "forward", TimeSformerAttention.forward)
    computing = Recognizer.from_pretrained(checkpoint, device="cpu", dtype="float32")
    expected = [computing.probabilities(computing.read(video)), *(computing.explain(video, kind=k).heat for k in MAPS)]
    monkeypatch.undo()
    found = [skipping.probabilities(skipping.read(video)), *(skipping.explain(video, kind=k).heat for k in MAPS)]
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_each_family_has_scratch_networks() -> None:
    assert {name.partition("-")[0] for name in SCRATCH} == set(FAMILIES)
