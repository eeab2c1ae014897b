import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune import cli
from finetune.cli import main
from tests.datasets import write_dataset


def test_unknown_names_are_answered_with_the_known(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["dance"]) == 1
    assert "no job dance; known are train, distill, tables, evaluate, push, subset, leaks" in capsys.readouterr().err
    assert main(["--recipe", "table7"]) == 1
    assert "There is no recipe table7; known are paper, table1-1" in caplog.text
    with pytest.raises(SystemExit):
        main(["--sampler", "dense"])
    assert "invalid choice: 'dense' (choose from uniform" in capsys.readouterr().err.replace("'uniform'", "uniform")
    assert main(["--data", "/nowhere", "--split", "thirds"]) == 1
    assert "no split thirds" in caplog.text
    assert main(["--data", "/nowhere"]) == 1
    assert "There is no data folder /nowhere" in caplog.text


@pytest.mark.parametrize("job", ["train", "distill", "tables", "evaluate", "push", "subset", "leaks"])
def test_every_job_has_help(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([job, "--help"])
    assert stop.value.code == 0
    assert f"python -m finetune {job}" in capsys.readouterr().out


def test_ctrl_c_and_full_disks_end_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stopped(_: Any) -> None:
        raise KeyboardInterrupt("Stopped. Go on with --resume.")

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device", "runs/x")

    monkeypatch.setitem(cli.JOBS, "train", stopped)
    assert main([]) == 130
    monkeypatch.setitem(cli.JOBS, "train", full)
    assert main([]) == 1
    assert "runs/x: No space left on device" in caplog.text


def test_subset_leaks_evaluate_and_distill(
    finished: tuple[Path, dict[str, Any]], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
