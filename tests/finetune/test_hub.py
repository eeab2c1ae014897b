"""There and back: from a run to the Hub and into the recognizer."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from transformers import AutoImageProcessor, AutoModelForVideoClassification, PretrainedConfig

from finetune import hub as hub_jobs
from finetune.cli import main
from finetune.config.data import DataSource
from finetune.config.push import Publication
from finetune.config.recipes import recipe_of
from finetune.jobs.train import train
from finetune.models.initial import SCRATCH
from finetune.report.schema import Report
from finetune.report.store import read, write
from hmdb.errors import DataError
from hmdb.model import KINETICS_400
from hmdb.recognizer import Recognizer
from tests.finetune.conftest import TINY
from tests.support.hub import TOKEN, USER, HubServer

WRONG_TOKEN = "hf_" + "b" * 34
VIVIT = "google/vivit-b-16x2-kinetics400"
COMMANDS = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def run(finished: tuple[Path, Report], tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def test_there_and_back(hub: HubServer, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "run"
    assert (
        main(["--data", str(dataset), "--output", str(output), *COMMANDS, "--push-to-hub", "--private", "--logs"]) == 0
    )
    name = f"{USER}/timesformer-tiny-shapes"
    repository = hub.repositories[f"models/{name}"]
    assert repository.private
    assert len(repository.commits) == 2  # the empty repository, and everything
    files = hub.files(name)
    assert {"README.md", "config.json", "preprocessor_config.json", "model.safetensors", "report.md"} <= set(files)
    assert any(path.startswith("runs/events") for path in files)
    assert "figures/confusion.png" in files
    assert "run.json" not in files
    card: Any = ModelCard(files["README.md"].decode())
    assert card.data.model_name == "timesformer-tiny-shapes"

    monkeypatch.setenv("HMDB_MODEL", name)
    there = Recognizer.from_pretrained()
    back = Recognizer.from_pretrained(output)
    assert there.loaded.checkpoint.name == name
    assert not there.loaded.notes
    for clip in ("circle/clip_00", "square/clip_05"):
        one, other = there(dataset / clip), back(dataset / clip)
        assert one.labels == other.labels
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
    processor = AutoImageProcessor.from_pretrained(name)  # type: ignore[no-untyped-call]
    assert tuple(processor.image_mean) == back.loaded.pixel_spec.mean
    assert AutoModelForVideoClassification.from_pretrained(name).config.id2label == {0: "circle", 1: "square"}


def test_pushing_later_to_a_name_of_ones_own_and_again(hub: HubServer, run: Path) -> None:
    assert main(["push", "--model", str(run), "--to", f"{USER}/mine"]) == 0
    (run / "figures" / "confusion.png").unlink()
    assert main(["push", "--model", str(run), "--to", f"{USER}/mine"]) == 0
    files = hub.files(f"{USER}/mine")
    assert "figures/confusion.png" not in files, "what an earlier push left is replaced"
    assert files["model.safetensors"] == (run / "model.safetensors").read_bytes()


def test_a_pinned_revision_does_not_change(hub: HubServer, run: Path) -> None:
    assert main(["push", "--model", str(run), "--to", f"{USER}/mine"]) == 0
    first = hub.repositories[f"models/{USER}/mine"].refs["main"]
    config = json.loads((run / "config.json").read_text())
    config["id2label"] = {"0": "round", "1": "angular"}
    (run / "config.json").write_text(json.dumps(config))
    assert main(["push", "--model", str(run), "--to", f"{USER}/mine"]) == 0
    assert Recognizer.from_pretrained(f"{USER}/mine").labels == ("round", "angular")
    pinned = Recognizer.from_pretrained(f"{USER}/mine", first)
    assert pinned.labels == ("circle", "square")
    assert pinned.loaded.checkpoint.revision == first


def test_a_push_that_breaks_leaves_no_half_model_and_can_be_repeated(
    hub: HubServer, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.broken["POST .*/commit/main"] = 403
    assert main(["push", "--model", str(run), "--to", f"{USER}/mine"]) == 1
    assert set(hub.files(f"{USER}/mine")) == {".gitattributes"}
    hub.broken = {"POST .*/commit/main": 0}  # gone halfway
    assert main(["push", "--model", str(run), "--to", f"{USER}/mine"]) == 1
    assert "push --model DIR` tries again" in caplog.text
    assert set(hub.files(f"{USER}/mine")) == {".gitattributes"}
    hub.broken.clear()
    assert main(["push", "--model", str(run), "--to", f"{USER}/mine"]) == 0
    assert Recognizer.from_pretrained(f"{USER}/mine").labels == ("circle", "square")


@pytest.mark.parametrize(
    ("token", "repository", "message"),
    [
        (WRONG_TOKEN, f"{USER}/mine", "The Hub token is not valid"),
        (None, f"{USER}/mine", "There is no Hub token"),
        (TOKEN, "leibniz/theirs", "This token may not write to leibniz/theirs"),
        (TOKEN, "a/b/c", "a/b/c is not a valid name for a repository"),
    ],
)
def test_the_token_is_checked_before_training(
    hub: HubServer,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    token: str | None,
    repository: str,
    message: str,
) -> None:
    hub.use(monkeypatch, tmp_path / "cache", token)
    words = ["--data", str(dataset), "--output", str(tmp_path / "run"), *COMMANDS, "--push-to-hub", repository]
    assert main(words) == 1
    assert message in caplog.text
    assert not (tmp_path / "run").exists()


def test_a_read_only_token_is_refused(hub: HubServer) -> None:
    hub.read_only.add(TOKEN)
    with pytest.raises(DataError, match="may only read"):
        hub_jobs.claim(Publication(repository="mine"), "")


def test_unfinished_runs_are_not_pushed(hub: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["push", "--model", str(tmp_path)]) == 1
    assert "holds no finished run" in caplog.text


@pytest.mark.parametrize(
    ("init", "data", "name"),
    [
        (KINETICS_400, "HMDB_simp", "timesformer-base-hmdb_simp"),
        (VIVIT, "someone/My Videos (2)", "vivit-base-my-videos-2"),
        ("scratch:timesformer-small", "\u52d5\u753b", "timesformer-small"),
        ("/data/My Model/", "x" * 200, "my-model-" + "x" * 87),
    ],
)
def test_names_of_repositories(init: str, data: str, name: str) -> None:
    assert hub_jobs.default_name(init, data) == name


def test_another_run_is_replaced_only_with_replace(
    hub: HubServer, run: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert main(["push", "--model", str(run), "--to", "mine"]) == 0
    report = read(run)
    assert report
    write(replace(report, seconds=1.0, data=replace(report.data, name="others")), run)
    assert main(["push", "--model", str(run), "--to", "mine"]) == 1
    assert f"{USER}/mine holds another run already, tiny on shapes. Add --replace to overwrite it" in caplog.text
    assert main(["push", "--model", str(run), "--to", "mine", "--replace"]) == 0
    hub.add(f"{USER}/theirs", {"model.safetensors": b"weights"})
    assert main(["push", "--model", str(run), "--to", "theirs"]) == 1
    assert f"{USER}/theirs holds a model already" in caplog.text


def test_uploaded_files_are_listed_and_frames_can_be_left_out(
    hub: HubServer, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", "--model", str(run), "--to", "mine"]) == 0
    told = capsys.readouterr().out
    assert f"To {USER}/mine (public; --private changes that" in told
    assert "--no-frames leaves them out" in told
    assert "name your clips" in told
    files = hub.files(f"{USER}/mine")
    assert all(name in told for name in files if name not in (".gitattributes", "README.md"))
    assert not any(name.startswith("runs/") for name in files)
    assert any(name in files for name in ("figures/right.png", "figures/wrong.png"))
    assert main(["push", "--model", str(run), "--to", "unseen", "--no-frames", "--private"]) == 0
    assert "show frames" not in capsys.readouterr().out
    files = hub.files(f"{USER}/unseen")
    assert not any(name in files for name in ("figures/right.png", "figures/wrong.png"))
    assert b"right.png" not in files["report.md"]
    assert b"confusion.png" in files["report.md"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--private"], "--private needs --push-to-hub."),
        (["--replace", "--no-frames"], "--replace needs --push-to-hub"),
        (["--push-to-hub", "--no-frames", "--logs"], "--logs pushes TensorBoard's files, which show frames, too"),
        (["--push-to-hub", "--logs", "--report-to", "none"], "--logs pushes TensorBoard's files, but --report-to"),
    ],
)
@pytest.mark.parametrize("job", [[], ["distill", "--teacher", "someone/model"]])
def test_contradicting_push_options_are_refused_first(
    hub: HubServer, words: list[str], reason: str, job: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main([*job, "--data", "/nowhere", *words]) == 1
    assert reason in caplog.text
    assert not hub.requests


def test_logs_are_pushed_with_a_warning_about_frames(
    hub: HubServer, run: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", "--model", str(run), "--to", "mine", "--logs", "--no-frames"]) == 1
    assert "--logs pushes TensorBoard's files, which show frames" in caplog.text
    assert main(["push", "--model", str(run), "--to", "mine", "--logs"]) == 0
    assert "TensorBoard's files show frames, too; without --logs they are not uploaded." in capsys.readouterr().out
    shutil.rmtree(run / "runs")
    assert main(["push", "--model", str(run), "--to", "other", "--logs"]) == 1
    assert "run has no TensorBoard files for --logs to push" in caplog.text
    assert f"models/{USER}/other" not in hub.repositories


def test_the_visibility_of_an_existing_repository(
    hub: HubServer, run: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add(f"{USER}/open", {".gitattributes": b""})
    assert main(["push", "--model", str(run), "--to", "open", "--private"]) == 1
    assert f"{USER}/open exists and is public, which --private does not change" in caplog.text
    assert set(hub.files(f"{USER}/open")) == {".gitattributes"}
    hub.add(f"{USER}/closed", {".gitattributes": b""}, private=True)
    assert main(["push", "--model", str(run), "--to", "closed"]) == 0
    assert f"To {USER}/closed (private)" in capsys.readouterr().out


def base_weights(folder: Path, template: PretrainedConfig, pixels: dict[str, Any]) -> Path:
    """A checkpoint as the Hub has it: 400 classes, no clip spec, small and random."""
    config = type(template).from_dict(template.to_dict() | {"id2label": {n: f"action {n}" for n in range(400)}})
    network: Any = AutoModelForVideoClassification.from_config(config)  # type: ignore[no-untyped-call]
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    return folder


TIMESFORMER_PIXELS = {
    "crop_size": 32,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "VideoMAEFeatureExtractor",
    "image_mean": [0.45, 0.45, 0.45],
    "image_std": [0.225, 0.225, 0.225],
    "resample": 2,
    "size": 32,
}
VIVIT_PIXELS = {
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "VivitImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "offset": True,
    "resample": 2,
    "rescale_factor": 0.00784313725490196,
    "size": {"shortest_edge": 36},
}


@pytest.mark.parametrize(
    ("name", "template", "pixels", "recipe"),
    [
        (KINETICS_400, "timesformer-tiny", TIMESFORMER_PIXELS, "paper"),
        (VIVIT, "vivit-tiny", VIVIT_PIXELS, "table4-vivit"),
    ],
)
def test_starting_from_the_base_weights_on_the_hub(
    hub: HubServer, dataset: Path, tmp_path: Path, name: str, template: str, pixels: dict[str, Any], recipe: str
) -> None:
    """On `main` a pickle alone; the safetensors wait in the conversion robot's pull request."""
    folder = base_weights(tmp_path / "base", SCRATCH[template], pixels)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    pickled = {
        "pytorch_model.bin": b"no",
        **{name: files[name] for name in ("config.json", "preprocessor_config.json")},
    }
    hub.add(name, pickled)
    for _ in range(5):
        revision = hub.add_pull_request(name, "Adding `safetensors` variant of this model", "SFconvertbot", files)
    untrained = Recognizer.from_pretrained(name, revision)
    assert len(untrained.labels) == 400
    assert any("does not say how its clips were sampled" in note for note in untrained.loaded.notes)

    changes = {"epochs": 1, "accumulation": 1, "sampler": "equidistant"}
    report = train(recipe_of(recipe, changes), DataSource(str(dataset)), tmp_path / "run", name=recipe)
    assert report.base == name
    assert report.classes == ("circle", "square")
    trained = Recognizer.from_pretrained(tmp_path / "run")
    assert trained.labels == ("circle", "square")
    if recipe == "table4-vivit":  # the checkpoint's own pixels
        assert trained.loaded.pixel_spec == untrained.loaded.pixel_spec
        assert report.clip_spec.stride == 2
    else:  # the paper's
        assert trained.loaded.pixel_spec.mean == (0.485, 0.456, 0.406)
