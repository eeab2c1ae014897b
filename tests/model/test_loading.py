import io
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hmdb.clips.clip import ClipSpec
from hmdb.errors import ModelError
from hmdb.model import loading as model
from hmdb.recognizer import Recognizer
from tests.support.checkpoints import change_config, one_line, write_checkpoint


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
