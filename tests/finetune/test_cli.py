import argparse
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune import cli
from finetune.cli import main
from finetune.options import add_options, given
from finetune.publish.report import Report
from finetune.recipe import Recipe
from tests.datasets import write_dataset


def test_unknown_names_are_answered_with_the_known(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for words, reason in (
        (["dance"], "invalid choice: 'dance' (choose from 'train', 'distill', 'tables', 'evaluate', 'push', 'subset'"),
        (["--sampler", "dense"], "invalid choice: 'dense' (choose from 'uniform'"),
        (["--split", "thirds"], "invalid choice: 'thirds' (choose from 'auto'"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        assert reason.replace("'", "") in capsys.readouterr().err.replace("'", "")
    assert main(["--recipe", "table7"]) == 1
    assert "There is no recipe table7; known are paper, table1-1" in caplog.text
    assert main(["--data", "/nowhere"]) == 1
    assert "There is no data folder /nowhere" in caplog.text


@pytest.mark.parametrize("job", ["train", "distill", "tables", "evaluate", "push", "subset", "leaks"])
def test_every_job_has_help(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([job, "--help"])
    assert stop.value.code == 0
    assert f"python -m finetune {job}" in capsys.readouterr().out


def test_help_lists_the_jobs_at_once() -> None:
    began = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "finetune", "--help"], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - began < 5, "half a second on a machine that has nothing else to do"
    for job in cli.JOBS:
        assert f"    {job} " in run.stdout
    assert not {"torch", "transformers", "sklearn", "huggingface_hub"} & {
        line.rpartition("|")[2].strip() for line in run.stderr.splitlines()
    }


def test_old_flags_still_work_and_no_help_tells_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Recipe)
    assert given(parser.parse_args(["--averaging", "0.5"]), Recipe) == {"ema": 0.5}
    assert "--averaging" not in parser.format_help()
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert "--part" not in capsys.readouterr().out


def test_ctrl_c_and_full_disks_end_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    train = cli.JOBS["train"]

    def stopped(_: Any) -> None:
        raise KeyboardInterrupt("Stopped. Go on with --resume.")

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device", "runs/x")

    monkeypatch.setitem(cli.JOBS, "train", replace(train, run=stopped))
    assert main([]) == 130
    monkeypatch.setitem(cli.JOBS, "train", replace(train, run=full))
    assert main([]) == 1
    assert "runs/x: No space left on device" in caplog.text


def test_subset_leaks_evaluate_and_distill(
    finished: tuple[Path, Report], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "part"
    words = ["--classes", "circle", "square", "--clips", "12"]
    assert main(["subset", "--data", str(dataset), "--output", str(part), *words]) == 0
    assert "2 classes in" in capsys.readouterr().out
    assert main(["leaks", "--data", str(part)]) == 0
    assert "source video unknown for 24 of 24" in capsys.readouterr().out
    output = ["--output", str(tmp_path / "report")]
    assert main(["evaluate", "--model", str(finished[0]), "--data", str(part), *output]) == 0
    assert "The report is" in capsys.readouterr().out
    options = ["--output", str(tmp_path / "student"), "--student", "scratch:tiny", "--sampler", "equidistant"]
    teacher = ["--teacher", str(finished[0]), "--epochs", "1"]
    assert main(["distill", "--data", str(part), *options, *teacher]) == 0
    assert (tmp_path / "student" / "README.md").exists()


def test_many_broken_clips_stop_a_run_unless_told_otherwise(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_dataset(tmp_path / "data", 10)
    for number in (1, 4):
        shutil.rmtree(root / "circle" / f"clip_0{number}")
        (root / "circle" / f"clip_0{number}.avi").write_bytes(b"no video")
    words = ["--data", str(root), "--init", "scratch:tiny", "--sampler", "equidistant", "--epochs", "1"]
    assert main([*words, "--output", str(tmp_path / "run")]) == 1
    assert "2 of 20 clips cannot be read, more than 2%" in caplog.text
    assert main([*words, "--output", str(tmp_path / "other"), "--allow-broken"]) == 0
