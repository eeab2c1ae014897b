"""Broken and hostile checkpoints are refused in one line, without a traceback or NaN."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForVideoClassification

from hmdb.errors import ModelError
from hmdb.model import loading as model
from hmdb.model.hub import Checkpoint
from hmdb.model.validation import MAX_SIZES
from tests.support.checkpoints import change_config, one_line

LABELS = {str(index): f"action {index}" for index in range(25)}
LABEL: list[Any] = ["", " ", "action 4", "\x1b[31m", "a\x85", "a\ud800", "a" * 201, [], None, 3]
NUMBERS: list[Any] = [[0.5, 0.5], "abc", None, 0.5, [0.5, 0.5, "x"], [0.5, 0.5, float("nan")], [0.5, 0.5, 10**400]]
COST = {"top1_change": 0.0, "clips": 225, "part": "val"}
CONFIG: dict[str, list[Any]] = {
    "clip_spec": [[], None, 3, "uniform", {"stride": True}, {"a\nb": 1}],
    "calibration": [[], None, 3, {"temperature": 1e-320}, {"threshold": True}],
    "int8": [[], None, 3, {"top1_change": 0.0}, COST | {"top1_change": "0"}, COST | {"clips": 0}, COST | {"part": "x"}],
    "bfloat16": [None, COST | {"same_top1": 10**6}, COST | {"relative_time": 0}, COST | {"else": 1}],
    "id2label": [[], ["a", "b"], 3, "ab", *({**LABELS, "3": label} for label in LABEL)],
    "model_type": [[], {}, None, 3, "a\nb"],
    "num_frames": [None, 0, -8, 8.0, "8", 10**9],
    "hidden_size": ["x", None, 0, -32, 10**9],
    "num_attention_heads": [0, -2, 3, 10**9],
    "num_hidden_layers": [0, 1, 3, True, 10**9],
    "patch_size": [0, 32, [16, 16]],
    "image_size": [-1, 64, None],
    "hidden_act": [3, "foo"],
    "attention_type": ["space_only", "foo"],
    "qkv_bias": [False],
    "return_dict": [False],
    "use_return_dict": [False],
    "quantization_config": [3, {"quant_method": "gptq"}],
}
PIXELS: dict[str, list[Any]] = {
    "size": ["32", None, 1.5, float("nan"), 32.0, 0, -32, True, [32, 32], {"height": 32, "width": "32"}, {}],
    "do_center_crop": ["no", 1],
    "image_mean": NUMBERS,
    "image_std": [*NUMBERS, *([0.5, deviation, 0.5] for deviation in (0, -1.0, 1e-320))],
    "resample": [99, -1, "x", None, 2.0, True],
    "rescale_factor": [float("nan"), float("inf"), 0, "1", None],
    "do_resize": [False],
    "do_rescale": [False],
    "do_normalize": [False],
    "offset": ["yes"],
    "image_processor_type": [["x"]],
}
MANGLED: list[tuple[str, dict[str, Any] | str]] = [
    *(("config.json", {key: value}) for key, values in CONFIG.items() for value in values),
    *(("preprocessor_config.json", {key: value}) for key, values in PIXELS.items() for value in values),
    *(
        ("preprocessor_config.json", {"do_center_crop": True} | change)
        for change in (
            {"size": {"shortest_edge": 10**6}},
            {"size": {"shortest_edge": 16}},
            {"crop_size": "32"},
            {"crop_size": {"height": 33, "width": 32}},
        )
    ),
    *((file, text) for file in ("config.json", "preprocessor_config.json") for text in ("", "[]", "[" * 100_000)),
]


def mangle(folder: Path, file: str, change: dict[str, Any] | str) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change) if isinstance(change, dict) else change)


@pytest.mark.parametrize(("file", "change"), MANGLED, ids=lambda value: str(value)[:60])
def test_broken_checkpoint_is_refused_in_one_line(copy: Path, file: str, change: dict[str, Any] | str) -> None:
    mangle(copy, file, change)
    with pytest.raises(ModelError) as caught:
        model.load(copy, device="cpu")
    assert one_line(caught)


@pytest.mark.parametrize("key", ["do_resize", "do_rescale", "do_normalize"])
def test_disabled_step_is_named(copy: Path, key: str) -> None:
    mangle(copy, "preprocessor_config.json", {key: False})
    with pytest.raises(ModelError, match=f"{key} in preprocessor_config.json is False; only true is supported"):
        model.load(copy)


@pytest.mark.parametrize("key", ["num_frames", "hidden_size"])
def test_broken_checkpoint_in_the_variable_falls_back_with_a_note(
    copy: Path, checkpoint: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mangle(copy, "config.json", {key: "x"})
    monkeypatch.setenv("HMDB_MODEL", str(copy))
    monkeypatch.setattr(model, "KINETICS_400", str(checkpoint))
    loaded = model.load()
    assert loaded.checkpoint.name == "tiny"
    assert loaded.notes == (
        f"{copy} is not in use: {key} in config.json of copy must be a whole number from 1 to {MAX_SIZES[key]}, "
        "not 'x'.",
    )


def test_labels_may_have_any_plain_characters(copy: Path) -> None:
    labels = json.loads((copy / "config.json").read_text())["id2label"]
    written = (
        "\u0645\u06cc\u200c\u0631\u0648\u062f",
        "\U0001f469\u200d\U0001f467",
        "1\u00a0000 m",
        "\u30d3\u3000\u30c7",
    )
    mangle(copy, "config.json", {"id2label": labels | {str(index): label for index, label in enumerate(written)}})
    assert model.load(copy).labels[: len(written)] == written


@pytest.mark.parametrize("number", [10**9, -1, 0, "many", 2.5, None])
def test_too_many_labels_are_refused_before_allocation(copy: Path, number: Any) -> None:
    mangle(copy, "config.json", {"num_labels": number})  # 10**9 took 8.6 GB and a minute
    message = "num_labels in config.json of copy must be a whole number from 1 to 100000"
    with pytest.raises(ModelError, match=message):
        model.load(copy)
    with pytest.raises(ModelError, match=message):
        model.load_network(Checkpoint(folder=copy, name="copy"))


def test_too_long_id2label_is_refused(copy: Path) -> None:
    mangle(copy, "config.json", {"id2label": {str(index): f"action {index}" for index in range(100_001)}})
    with pytest.raises(ModelError, match="copy has more than 100000 labels") as caught:
        model.load(copy)
    assert one_line(caught)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors", "known.safetensors"])
def test_pipes_devices_and_outside_links_are_refused_without_blocking(copy: Path, name: str, tmp_path: Path) -> None:
    path, outside = copy / name, tmp_path / "outside"
    outside.write_bytes(path.read_bytes() if path.exists() else b"")
    cases: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: os.mkfifo(path), "is not a regular file, so it is not read"),
        (lambda: path.symlink_to("/dev/zero"), "is a link that leads out of its folder, so it is not read"),
        (lambda: path.symlink_to(outside), "is a link that leads out of its folder, so it is not read"),
        (lambda: path.symlink_to("../outside"), "is a link that leads out of its folder, so it is not read"),
        (lambda: path.symlink_to("gone"), "cannot be read: No such file or directory"),
        (lambda: path.symlink_to(path), "copy"),  # round and round
    )
    for make, message in cases:
        path.unlink(missing_ok=True)
        make()
        with pytest.raises(ModelError, match=message) as caught:
            model.load(copy)
        assert one_line(caught)


def test_inside_links_and_hub_blobs_are_followed(checkpoint: Path, tmp_path: Path) -> None:
    folder, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(each for each in checkpoint.iterdir() if each.is_file())):
        shutil.copy(path, blobs / str(number))
        (folder / path.name).symlink_to(f"../../blobs/{number}")
    assert len(model.load(folder).labels) == 25
    shutil.copytree(folder, tmp_path / "copied", symlinks=False)
    (tmp_path / "copied" / "model.safetensors").rename(tmp_path / "copied" / "weights")
    (tmp_path / "copied" / "model.safetensors").symlink_to("weights")
    assert len(model.load(tmp_path / "copied").labels) == 25


def test_large_json_and_outside_weights_are_refused(copy: Path) -> None:
    index = copy / "model.safetensors.index.json"
    for value in ("../model.safetensors", "/dev/zero", 3):
        index.write_text(json.dumps({"weight_map": {"classifier.bias": value}}))
        with pytest.raises(ModelError, match="names weights outside its folder"):
            model.load(copy)
    index.unlink()
    with (copy / "config.json").open("a") as file:
        file.write(" " * (16 * 2**20))
    with pytest.raises(ModelError, match="of copy has more than 16 MB, so it is not read"):
        model.load(copy)


def test_oversized_config_is_refused_before_allocation(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change_config(copy, hidden_size=8192, intermediate_size=32768, num_hidden_layers=32)  # 160 GB
    build, devices = AutoModelForVideoClassification.from_config, []

    def recorded(config: Any) -> Any:
        devices.append(torch.empty(0).device.type)
        return build(config)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(AutoModelForVideoClassification, "from_config", recorded)
    monkeypatch.setattr(AutoModelForVideoClassification, "from_pretrained", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(ModelError, match=r"config.json describes \d+ parameters, but the files have \d+ bytes"):
        model.load(copy)
    assert devices == ["meta"]
