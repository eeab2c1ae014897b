import io
import json
import logging
import os
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file
from transformers import AutoModelForVideoClassification

from hmdb.clips.clip import ClipSpec
from hmdb.errors import ModelError
from hmdb.model import KINETICS_400
from hmdb.model import loading as model
from hmdb.model.hub import CONVERSION_ROBOT, HUB_SECONDS, Checkpoint
from hmdb.model.validation import MAX_SIZES
from hmdb.recognizer import Recognizer
from tests.support.checkpoints import write_checkpoint
from tests.support.hub import HubServer


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_folder_is_loaded_with_its_specs(checkpoint: Path) -> None:
    loaded = model.load(checkpoint, device="cpu")
    assert loaded.clip_spec == ClipSpec()
    assert loaded.pixel_spec.shape == (32, 32)
    assert len(loaded.labels) == 25
    assert loaded.checkpoint.name == "tiny"
    assert loaded.notes == ()
    assert not loaded.network.training


@pytest.mark.parametrize("num_labels", [2, 51, 400])
def test_any_number_of_labels(num_labels: int, tmp_path: Path) -> None:
    from finetune.models.initial import load_initial
    from finetune.training.checkpoint import save_checkpoint

    labels = [f"action {index}" for index in range(num_labels)]
    origin = load_initial("scratch:timesformer-tiny", labels, sampler=None, extension=None, paper_pixels=True)
    save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, tmp_path)
    assert model.load(tmp_path).labels == tuple(labels)


def test_vivit_has_its_own_default_sampling(tmp_path: Path) -> None:
    loaded = model.load(write_checkpoint(tmp_path, "scratch:vivit-tiny"))
    assert loaded.clip_spec.sampler == "centered"
    assert loaded.clip_spec.stride == 2


def test_missing_clip_spec_is_the_familys_default_with_a_note(copy: Path) -> None:
    change_config(copy, clip_spec=None)
    loaded = model.load(copy)
    assert loaded.clip_spec == ClipSpec()
    assert "does not say how its clips were sampled" in loaded.notes[0]


def test_fp16_checkpoint_is_float32_on_a_cpu(copy: Path) -> None:
    path = copy / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    change_config(copy, dtype="float16")
    loaded = model.load(copy, device="cpu")
    assert {parameter.dtype for parameter in loaded.network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "copy is a bert model; supported are timesformer, vivit, videomae"),
        ({"id2label": None}, "does not name its labels"),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "does not name its labels"),
        ({"id2label": {"0": "a", "2": "b"}}, "not numbered 0 to 1"),
        ({"num_frames": 16}, "lacks weights that its config.json requires: timesformer.embeddings.time_embeddings"),
        ({"clip_spec": {"num_frames": 16}}, "takes 8 frames, not the 16 of its clip spec"),
        ({"clip_spec": {"sampler": "psychic"}}, "sampler must be one of"),
    ],
)
def test_mismatched_checkpoint_is_refused(copy: Path, changes: dict[str, Any], message: str) -> None:
    change_config(copy, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        model.load(copy)
    assert "\n" not in str(caught.value)


# Whatever is mangled: one line, no traceback, no NaN

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


def one_line(error: pytest.ExceptionInfo[ModelError]) -> bool:
    return str(error.value).isprintable() and 0 < len(str(error.value)) <= 300


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


def scale_weights(folder: Path, factor: float) -> None:
    path = folder / "model.safetensors"
    save_file({name: value * factor for name, value in load_file(path).items()}, path, metadata={"format": "pt"})


def test_non_finite_weights_are_refused(copy: Path) -> None:
    scale_weights(copy, float("nan"))
    with pytest.raises(ModelError, match="weights of copy are damaged: some are not finite"):
        model.load(copy)


def test_non_finite_logits_are_refused(copy: Path, video: Path) -> None:
    scale_weights(copy, 1e37)
    recognizer = Recognizer.from_pretrained(copy, device="cpu")
    for answer in (recognizer, recognizer.explain):
        with pytest.raises(ModelError, match=r"^copy gives no finite answer; its weights are damaged\.$"):
            answer(video)


def test_unexpected_weights_are_refused(copy: Path) -> None:
    change_config(copy, num_hidden_layers=1)
    with pytest.raises(ModelError, match=r"does not describe: timesformer\.encoder\.layer\.1\."):
        model.load(copy)


def test_transformers_load_report_is_silenced(copy: Path) -> None:
    logger, printed = logging.getLogger("transformers"), io.StringIO()
    handler = logging.StreamHandler(printed)
    logger.addHandler(handler)
    try:
        for change in ({"num_hidden_layers": 1}, {"num_hidden_layers": 3}, {"num_labels": 3}):
            change_config(copy, **change)
            with pytest.raises(ModelError):
                model.load(copy)
        assert not printed.getvalue()
        logger.warning("heard again")
        assert printed.getvalue() == "heard again\n"
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_missing_file_is_named(copy: Path, file: str) -> None:
    (copy / file).unlink()
    if file == "preprocessor_config.json":  # the same stands in another file
        model.load(copy)
        (copy / "video_preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="safetensors" if file == "model.safetensors" else file):
        model.load(copy)


def test_pickle_is_not_loaded(copy: Path) -> None:
    torch.save({}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no safetensors, and other formats are not loaded"):
        model.load(copy)


def test_damaged_weights_are_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="weights of copy cannot be loaded"):
        model.load(copy)


def test_missing_weights_are_refused(copy: Path) -> None:
    path = copy / "model.safetensors"
    weights = load_file(path)
    del weights["classifier.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks weights .*: classifier\.weight"):
        model.load(copy)


@pytest.mark.parametrize(
    ("cuda", "driver", "lent", "warned"),
    [(None, True, False, True), (None, False, True, True), (None, False, False, False), ("13.0", True, True, False)],
)
def test_gpu_without_cuda_torch_is_logged(
    cuda: str | None,
    driver: bool,
    lent: bool,
    warned: bool,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(model, "NVIDIA", tmp_path if driver else tmp_path / "none")
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    if lent:
        monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    model.load(checkpoint)
    assert ("built without CUDA" in caplog.text) is warned


@pytest.mark.parametrize("device", ["abacus", "xpu", "meta", "mps:9", ""])
def test_unknown_device_is_refused(checkpoint: Path, device: str) -> None:
    with pytest.raises(ModelError, match=f"^{device} is not a device") as caught:
        model.load(checkpoint, device=device)
    assert one_line(caught)


def test_revision_needs_a_hub_model(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match="tiny is a local folder, which has no revisions such as v1"):
        model.load(checkpoint, "v1")
    with pytest.raises(ModelError, match="The revision v1 needs a model"):
        model.load(None, revision="v1")


def test_bundled_checkpoint_is_the_offline_default(monkeypatch: pytest.MonkeyPatch, video: Path) -> None:
    monkeypatch.setattr(model, "resolve_checkpoint", lambda *_: pytest.fail("the network was asked"))
    recognizer = Recognizer.from_pretrained(device="cpu")
    assert recognizer.loaded.checkpoint.name == "bundled"
    assert recognizer.loaded.notes == ()
    assert len(recognizer(video).labels) == 5


# What is out of reach, by argument and by variable


@pytest.fixture(params=["refused", "black hole", "no name server"])
def no_hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The models that were asked for of a Hub that refuses connections, of one that accepts them and never says a
    word, and of one whose name is looked up for ever.
    """
    asked: list[str] = []
    over = threading.Event()
    ask = HfApi.model_info

    def recorded(api: HfApi, name: str, **options: Any) -> Any:
        asked.append(name)
        if request.param == "no name server":
            over.wait()
        return ask(api, name, **options)

    monkeypatch.setattr(HfApi, "model_info", recorded)
    monkeypatch.setattr("hmdb.model.hub.HUB_SECONDS", 0.1)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "black hole":
            server.listen(8)
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield asked
        over.set()


def test_unreachable_hub_falls_back_to_bundled_after_one_request(
    no_hub: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMDB_MODEL", "someone/timesformer")
    loaded = model.load()
    assert no_hub == ["someone/timesformer"]
    assert HUB_SECONDS < 4, "which is all that a start without the Hub waits for"
    assert loaded.checkpoint.name == "bundled"
    assert loaded.notes == (
        "someone/timesformer is not in use: someone/timesformer cannot be downloaded: the Hub cannot be reached.",
        f"{KINETICS_400} is not in use: {KINETICS_400} cannot be downloaded: the Hub cannot be reached.",
    )


@pytest.mark.usefixtures("no_hub")
def test_model_named_by_argument_has_no_fallback() -> None:
    with pytest.raises(ModelError, match=r"^someone/timesformer cannot be downloaded: the Hub cannot be reached\.$"):
        model.load("someone/timesformer")


@pytest.mark.parametrize("name", ["no/such/folder", "/no/such", "./missing", "justaname"])
def test_invalid_model_name_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="neither a local folder nor a Hub id"):
        model.load(name)


def test_variable_may_name_a_folder(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.setenv("HMDB_MODEL", str(checkpoint))
    assert model.load().checkpoint.name == "tiny"


# On a Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.use(monkeypatch, tmp_path / "cache")
        yield hub


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_hub_model_is_loaded_with_its_commit(hub: HubServer, checkpoint: Path) -> None:
    commit = hub.add("someone/model", contents(checkpoint))
    loaded = model.load("someone/model", device="cpu")
    assert (loaded.checkpoint.name, loaded.checkpoint.revision) == ("someone/model", commit)


def test_cached_model_works_offline(hub: HubServer, checkpoint: Path) -> None:
    commit = hub.add("someone/model", contents(checkpoint))
    model.load("someone/model")
    hub.broken[".*"] = 0
    assert model.load("someone/model").checkpoint.revision == commit


def test_offline_revision_is_not_replaced_by_another(hub: HubServer, checkpoint: Path) -> None:
    files = contents(checkpoint)
    hub.add(KINETICS_400, {name: content for name, content in files.items() if name != "model.safetensors"})
    for number in range(1, 6):
        hub.add_pull_request(KINETICS_400, f"Change {number}", "someone", files)
    model.load(KINETICS_400)
    hub.broken[".*"] = 0
    with pytest.raises(ModelError, match="Hub cannot be reached"):
        model.load(KINETICS_400, "v9")


def test_kinetics_weights_come_from_their_conversion(hub: HubServer, checkpoint: Path) -> None:
    files = contents(checkpoint)
    pickled = {name: content for name, content in files.items() if name != "model.safetensors"}
    hub.add(KINETICS_400, pickled | {"pytorch_model.bin": b"a pickle"})
    for number in range(1, 6):
        hub.add_pull_request(KINETICS_400, f"Change {number}", "someone", files)
    loaded = model.load(KINETICS_400)
    assert loaded.checkpoint.revision == hub.repositories[f"models/{KINETICS_400}"].refs["refs/pr/5"]
    assert not [request for request in hub.requests if "pytorch_model.bin" in request]


def test_robot_conversion_is_loaded_instead_of_a_pickle(hub: HubServer, checkpoint: Path) -> None:
    files = contents(checkpoint)
    pickled = {name: content for name, content in files.items() if name != "model.safetensors"}
    hub.add("someone/pickle", pickled)
    hub.add_pull_request("someone/pickle", "Adding `safetensors` variant of this model", "an-impostor", files)
    with pytest.raises(ModelError, match="no safetensors on the Hub, and pickles are not loaded"):
        model.load("someone/pickle")
    hub.add_pull_request("someone/pickle", "Adding `safetensors` variant of this model", CONVERSION_ROBOT, files)
    assert (
        model.load("someone/pickle").checkpoint.revision == hub.repositories["models/someone/pickle"].refs["refs/pr/2"]
    )


KINETICS_600 = "facebook/timesformer-base-finetuned-k600"


def test_conversion_is_found_among_other_pull_requests(hub: HubServer, checkpoint: Path) -> None:
    """Like the Kinetics-600 weights: the fifth pull request only fixes configurations, and no other has the weights."""
    files = contents(checkpoint)
    configs = {name: content for name, content in files.items() if name != "model.safetensors"}
    hub.add(KINETICS_600, configs | {"pytorch_model.bin": b"a pickle"})
    for number in range(1, 5):
        hub.add_pull_request(KINETICS_600, f"Change {number}", "someone", configs)
    hub.add_pull_request(KINETICS_600, "fix config files", "someone", configs)
    with pytest.raises(ModelError, match="pickles are not loaded: request a conversion at"):
        model.load(KINETICS_600)
    hub.add_pull_request(KINETICS_600, "Adding `safetensors` variant of this model", CONVERSION_ROBOT, configs)
    hub.add_pull_request(KINETICS_600, "Adding `safetensors` variant of this model", CONVERSION_ROBOT, files)
    found = model.load(KINETICS_600).checkpoint.revision
    assert found == hub.repositories[f"models/{KINETICS_600}"].refs["refs/pr/7"]
    assert not [request for request in hub.requests if "pytorch_model.bin" in request]
    hub.broken[".*"] = 0
    assert model.load(KINETICS_600).checkpoint.revision == found


@pytest.mark.parametrize("gone", ["its weights", "its pull request"])
def test_deleted_known_conversion_is_searched_again(hub: HubServer, checkpoint: Path, gone: str) -> None:
    files = contents(checkpoint)
    configs = {name: content for name, content in files.items() if name != "model.safetensors"}
    hub.add(KINETICS_400, configs)
    for number in range(1, 6 if gone == "its weights" else 3):
        hub.add_pull_request(KINETICS_400, f"Change {number}", "someone", configs)
    revision = hub.add_pull_request(KINETICS_400, "Adding `safetensors` variant", CONVERSION_ROBOT, files)
    found = model.load(KINETICS_400).checkpoint.revision
    assert found == hub.repositories[f"models/{KINETICS_400}"].refs[revision]


def test_missing_model_in_the_variable_falls_back_to_kinetics(
    hub: HubServer, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(KINETICS_400, contents(checkpoint))
    monkeypatch.setenv("HMDB_MODEL", "someone/missing")
    loaded = model.load()
    assert loaded.checkpoint.name == KINETICS_400
    assert loaded.notes == (
        "someone/missing is not in use: someone/missing is not on the Hub, or is private: set HF_TOKEN to access it.",
    )


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("someone/missing", None, "not on the Hub, or is private"),
        ("someone/model", "v9", "has no revision v9"),
        ("bad//name", None, "neither a local folder nor a Hub id"),
        ("a b/c", None, "not a valid Hub id"),
    ],
)
def test_missing_on_the_hub_is_reported(
    hub: HubServer, checkpoint: Path, name: str, revision: str | None, message: str
) -> None:
    hub.add("someone/model", contents(checkpoint))
    with pytest.raises(ModelError, match=message):
        model.load(name, revision)
