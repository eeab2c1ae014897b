"""Exported models in ONNX Runtime match torch and need only their own files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmdb.cli import main
from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import read_clip
from hmdb.errors import ModelError
from hmdb.export import Exported, export, largest_difference
from hmdb.model import loading
from hmdb.model.calibration import Calibration
from hmdb.model.preprocess import preprocess
from hmdb.model.validation import read_pixel_spec
from hmdb.recognizer import Recognizer
from tests.support.checkpoints import write_checkpoint
from tests.support.paths import ROOT

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module", params=["timesformer", pytest.param("vivit", marks=pytest.mark.slow)])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    """A checkpoint, and what was exported of it."""
    folder = tmp_path_factory.mktemp("export")
    checkpoint = write_checkpoint(folder / "checkpoint", f"scratch:{request.param}-tiny", sampler="equidistant")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"calibration": {"temperature": 1.5}}))
    return checkpoint, export(loading.load(checkpoint, device="cpu"), folder / "deep" / "onnx")


@pytest.mark.parametrize("clips", [1, 3])
def test_onnx_logits_match_torch(exported: tuple[Path, Exported], clips: int) -> None:
    checkpoint, made = exported
    loaded = loading.load(checkpoint, device="cpu")
    pixel_values = torch.randn(clips, loaded.clip_spec.num_frames, 3, *loaded.pixel_spec.shape)
    with torch.inference_mode():
        expected = loaded.network(pixel_values=pixel_values).logits.numpy()
    session = onnxruntime.InferenceSession(made.folder / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"pixel_values": pixel_values.numpy()})
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert 0 <= made.difference <= 1e-4


def test_exported_folder_is_enough_to_classify_a_video(exported: tuple[Path, Exported], video: Path) -> None:
    checkpoint, made = exported
    config: dict[str, Any] = json.loads((made.folder / "config.json").read_text())
    clip = read_clip(video, ClipSpec.from_dict(config["clip_spec"]))
    pixel_values = preprocess(clip.pixels, read_pixel_spec(made.folder, "", config["model_type"]))
    session = onnxruntime.InferenceSession(made.folder / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"pixel_values": pixel_values[None].numpy()})
    probabilities = Calibration.from_dict(config["calibration"]).probabilities(logits[0])
    best = probabilities.argsort()[::-1][:5]
    answer = Recognizer.from_pretrained(checkpoint, device="cpu", dtype="float32")(video)
    assert [config["id2label"][str(index)] for index in best] == list(answer.labels)
    np.testing.assert_allclose(probabilities[best], answer.probabilities, atol=1e-4)


def test_export_command(exported: tuple[Path, Exported], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, made = exported
    output = tmp_path / "onnx"
    assert main(["export", str(checkpoint), "--output", str(output)]) == 0
    assert "differ from PyTorch's by at most" in capsys.readouterr().out
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in made.folder.iterdir())
    assert main(["export", str(checkpoint), "--output", str(output)]) == 1
    assert "is not an empty folder" in capsys.readouterr().err


def test_current_empty_folder_is_accepted(
    exported: tuple[Path, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(exported[0]), "--output", "."]) == 0
    assert Path("model.onnx").is_file()


@pytest.mark.skipif(os.name == "nt", reason="no /dev")
def test_unwritable_folder_is_named(checkpoint: Path) -> None:
    with pytest.raises(ModelError, match=r"^/dev/null/onnx cannot be written: Not a directory\."):
        export(loading.load(checkpoint, device="cpu"), Path("/dev/null/onnx"))


def test_existing_files_are_not_overwritten(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"is not an empty folder. Name a new --output folder\."):
        export(loading.load(checkpoint, device="cpu"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_different_logits_are_refused(exported: tuple[Path, Exported]) -> None:
    checkpoint, made = exported
    loaded = loading.load(checkpoint, device="cpu")
    session = onnxruntime.InferenceSession(made.folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert largest_difference(loaded, session) == pytest.approx(made.difference, abs=1e-5)
    head: Any = loaded.network.classifier
    with torch.no_grad():
        head.bias += 2e-4
    with pytest.raises(
        ModelError, match=r"^checkpoint has other logits in ONNX Runtime: the largest difference is 0\.0002"
    ):
        largest_difference(loaded, session)


@pytest.mark.slow
def test_export_writes_nothing_to_the_home_folder(checkpoint: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-m", "hmdb", "export", str(checkpoint), "--output", str(tmp_path / "onnx")]
    subprocess.run(command, cwd=ROOT, env=environment | {"HOME": str(home)}, check=True)
    assert (tmp_path / "onnx/model.onnx").exists()
    assert [path for path in home.rglob("*") if path.is_file()] == []
