import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune.cli import COMMANDS, main, train
from finetune.config.fields import add_options, given
from finetune.config.recipe import Recipe
from finetune.data import layouts
from finetune.data.sample import ClipIndex
from finetune.report.schema import Report
from tests.support.datasets import write_dataset
from tests.support.hub import HubServer


def test_errors_list_the_known_names(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    for words, reason in (
        (
            ["dance"],
            "invalid choice: 'dance' (choose from 'train', 'distill', 'tables', 'check', 'evaluate', 'fit-ood'",
        ),
        (["--sampler", "dense"], "invalid choice: 'dense' (choose from 'uniform'"),
        (["--split", "thirds"], "invalid choice: 'thirds' (choose from 'auto'"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        assert reason.replace("'", "") in capsys.readouterr().err.replace("'", "")
    assert main(["--recipe", "table7"]) == 1
    assert "There is no recipe table7; known are paper, small, table1-1" in caplog.text
    assert main(["--data", "/nowhere"]) == 1
    assert "There is no data folder /nowhere" in caplog.text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"python -m finetune {command}" in capsys.readouterr().out


def test_help_imports_no_heavy_library() -> None:
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "finetune", "--help"], capture_output=True, text=True, check=True
    )
    for command in COMMANDS:
        assert f"    {command} " in run.stdout
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "finetune.cli" in imported
    assert not {"torch", "transformers", "sklearn", "huggingface_hub"} & imported


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("--accumulation 2 --gradient-accumulation-steps 3", {"accumulation": 3}),
        ("--schedule cosine", {"schedule": "cosine"}),
        ("--warmup 0.1 --ema 0.5", {"warmup": 0.1, "ema": 0.5}),
        (
            "--warmup-ratio 0.1 --ema-decay 0.5 --lr-scheduler constant",
            {"warmup": 0.1, "ema": 0.5, "schedule": "constant"},
        ),
        ("--mixup 0.4 --freeze 2 --frames 4", {"mixup": 0.4, "freeze": 2, "frames": 4}),
        ("--mixup-alpha 0.4 --freeze-blocks 2 --train-num-frames 4", {"mixup": 0.4, "freeze": 2, "frames": 4}),
        ("--half --patience 1", {"half": True, "patience": 1}),
        ("--save-fp16 --early-stopping-patience 1", {"half": True, "patience": 1}),
        ("--save-fp16 --no-half", {"half": False}),
        ("--head probe --pixels checkpoint", {"head": "linear-probe", "pixels": "checkpoint"}),
        ("--head-init linear-probe --preprocessing checkpoint", {"head": "linear-probe", "pixels": "checkpoint"}),
        ("--extension after --precision bf16", {"extension": "after", "precision": "bfloat16"}),
        ("--extend-short-clips after --dtype float16", {"extension": "after", "precision": "float16"}),
    ],
)
def test_long_and_short_option_names_are_equivalent(words: str, settings: dict[str, Any]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Recipe)
    assert given(parser.parse_args(words.split()), Recipe) == settings


def test_help_lists_each_option_once_and_no_opposite_of_a_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    assert "--head-init {random,linear-probe}" in text
    assert "--save-fp16" in text
    for word in ("--head ", "--half", "--no-save-fp16", "--no-compile", "--accumulation", "--averaging"):
        assert word not in text


def test_old_names_of_commands_are_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    for old, command in (("known", "fit-ood"), ("leaks", "leakage")):
        with pytest.raises(SystemExit):
            main([old, "--help"])
        assert f"python -m finetune {command} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("leakage", ["--allow-near-duplicates", "--allow-broken", "--extra-train-data"]),
        ("check", ["--allow-near-duplicates", "--allow-broken", "--extra-train-data"]),
        ("evaluate", ["--allow-near-duplicates", "--extra-train-data"]),
        ("tables", ["--allow-near-duplicates", "--extra-train-data"]),
    ],
)
def test_options_without_effect_are_not_offered(
    command: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert "--data" in text
    assert not [option for option in options if option in text]


def test_interrupt_and_full_disk_give_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stopped(_: Any) -> None:
        raise KeyboardInterrupt("Stopped. Go on with --resume.")

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device", "runs/x")

    monkeypatch.setattr(train, "run", stopped)
    assert main([]) == 130
    monkeypatch.setattr(train, "run", full)
    assert main([]) == 1
    assert "runs/x: No space left on device" in caplog.text


def test_subset_leakage_evaluate_and_distill(
    finished: tuple[Path, Report], dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = tmp_path / "part"
    words = ["--classes", "circle", "square", "--clips", "12"]
    assert main(["subset", "--data", str(dataset), "--output", str(part), *words]) == 0
    assert "2 classes in" in capsys.readouterr().out
    assert main(["leakage", "--data", str(part)]) == 0
    assert "source video unknown for 24 of 24" in capsys.readouterr().out
    output = ["--output", str(tmp_path / "report")]
    assert main(["evaluate", "--model", str(finished[0]), "--data", str(part), *output]) == 0
    assert "The report is" in capsys.readouterr().out
    options = ["--output", str(tmp_path / "student"), "--init", "scratch:tiny", "--sampler", "equidistant"]
    teacher = ["--teacher", str(finished[0]), "--epochs", "1"]
    assert main(["distill", "--data", str(part), *options, *teacher]) == 0
    assert (tmp_path / "student" / "README.md").exists()


def test_many_broken_clips_need_allow_broken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_dataset(tmp_path / "data", 10)
    for number in (1, 4):
        shutil.rmtree(root / "circle" / f"clip_0{number}")
        (root / "circle" / f"clip_0{number}.avi").write_bytes(b"no video")
    words = ["--data", str(root), "--init", "scratch:tiny", "--sampler", "equidistant", "--epochs", "1"]
    assert main([*words, "--output", str(tmp_path / "run")]) == 1
    assert "2 of 20 clips cannot be read, more than 2%" in caplog.text
    assert main([*words, "--output", str(tmp_path / "other"), "--allow-broken"]) == 0


def test_progress_is_one_line_an_epoch_without_a_terminal(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO", "finetune")
    words = ["--data", str(dataset), "--output", str(tmp_path / "run"), "--init", "scratch:tiny", "--epochs", "2"]
    assert main(words) == 0
    lines = [record.message for record in caplog.records]
    assert lines[0] == "Recipe: paper, for a new network. --recipe names another."
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert re.match(r"epoch 1 of 2: val top-1 \d+\.\d%, val loss \d\.\d{3}.*; at most 0:\d\d:\d\d left$", epochs[0])
    assert epochs[1].startswith("epoch 2 of 2")
    assert "left" not in epochs[1]
    assert "{" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [["evaluate", "--model", "x", "--batch-size", "0"], ["leakage", "--seed", "-1"]])
def test_numbers_out_of_range_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert "must be at least" in capsys.readouterr().err


def test_settings_are_checked_before_the_data(caplog: pytest.LogCaptureFixture) -> None:
    assert main(["--data", "/nowhere", "--seed", "-1"]) == 1
    assert "seed must be at least 0" in caplog.text


def test_report_to_none_excludes_other_loggers(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["--data", str(dataset), "--report-to", "none", "tensorboard"]) == 1
    assert "--report-to none goes with no other name" in caplog.text


def test_accelerate_on_cpus_gives_a_hint(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert main(["--data", "/nowhere"]) == 1
    assert "torchrun --nproc_per_node N -m finetune starts N" in caplog.text


def test_cross_validation_of_own_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, finished: tuple[Path, Report]
) -> None:
    caplog.set_level("INFO", "finetune")
    root = write_dataset(tmp_path / "own", 9, classes=("circle", "square", "disc"))
    words = ["--data", str(root), "--output", str(tmp_path / "run"), "--init", str(finished[0]), "--epochs", "1"]
    assert main([*words, "--folds", "3", "--group-by", r"_(\d)\d*$"]) == 1
    assert "into one group, so none could test" in caplog.text
    assert main([*words, "--folds", "3"]) == 0
    assert "Recipe: small, for data of your own." in caplog.text
    told = capsys.readouterr().out
    assert "| 3 | 9 |" in told
    assert "top-5" not in told, "of three classes it is always right"
    assert "All 27 clips, each tested once: top-1" in told
    assert "own; the splits of the first fold: stratified by class (paper, section 3), fold 1 of 3" in told
    found = json.loads((tmp_path / "run" / "folds.json").read_text())
    assert found["mean_class"] == pytest.approx(found["top1"]), "each class has as many clips"
    assert f"mean-class accuracy {100 * found['mean_class']:.1f} %" in told
    second = json.loads((tmp_path / "run" / "fold-2" / "report.json").read_text())["data"]["split"]
    words = ["evaluate", "--model", str(tmp_path / "run" / "fold-2"), "--data", str(root), "--folds", "3"]
    assert main([*words, "--output", str(tmp_path / "which")]) == 1
    assert "Choose one, such as --fold 1" in caplog.text
    assert main([*words, "--fold", "2", "--output", str(tmp_path / "second")]) == 0
    assert json.loads((tmp_path / "second" / "report.json").read_text())["data"]["split"] == second
    card = (tmp_path / "run" / "fold-3" / "README.md").read_text()
    assert "python -m finetune --recipe small --data own --folds 3 --fold 3 --init" in card
    everything = ["--data", str(root), "--eval-split", "all", "--output", str(tmp_path / "all")]
    assert main(["evaluate", "--model", str(tmp_path / "run" / "fold-1"), *everything]) == 0
    told = capsys.readouterr().out
    assert "all: top-1" in told
    assert "top-5" not in told
    assert "| all | 27 |" in (tmp_path / "all" / "report.md").read_text()


@pytest.mark.parametrize("words", [["--push-to-hub", "newton/tiny"], ["--folds", "3"]])
def test_a_data_set_is_listed_once_in_a_run(
    words: list[str], hub: HubServer, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = []
    list_clips = layouts._index_layout

    def count(location: str, group_by: str) -> ClipIndex:
        listed.append(location)
        return list_clips(location, group_by)

    monkeypatch.setattr(layouts, "_index_layout", count)
    run = ["--data", str(dataset), "--init", "scratch:tiny", "--epochs", "1", "--output", str(tmp_path / "run")]
    assert main([*run, *words]) == 0
    assert listed == [str(dataset)]
