import argparse
from pathlib import Path

import pytest

from finetune.cli import COMMANDS, main
from finetune.cli.config_file import read_config
from finetune.report import store
from hmdb.errors import DataError
from tests.finetune.conftest import training

TRAIN = COMMANDS["train"].add_arguments


def written(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_each_kind_of_value(tmp_path: Path) -> None:
    text = (
        "data: my videos\nlearning-rate: 2e-5\nepochs: 3\ngroup_by: ^([a-z]+)_\n"
        "compile: false\nallow_broken: true\nresume: no\npush_to_hub: true\nmore: -odd\n"
    )
    assert read_config(written(tmp_path, text), TRAIN) == {
        "location": "my videos",
        "learning_rate": 2e-5,
        "epochs": 3,
        "group_by": "^([a-z]+)_",
        "compile": False,
        "allow_broken": True,
        "resume": False,
        "push_to_hub": "",
        "more": "-odd",
    }
    lists = written(tmp_path, "classes: [run, walk]\ndata: HMDB51\n")
    assert read_config(lists, COMMANDS["subset"].add_arguments) == {"classes": ["run", "walk"], "data": "HMDB51"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("learning_rat: 1", r"run.yaml has the key learning_rat, which is no setting; near it: learning_rate\."),
        ("colour: red", "the key colour, which is no setting; there are activation_checkpointing"),
        ("epochs: many", "run.yaml: argument --epochs: invalid int value: 'many'"),
        ("epochs:", "epochs needs a value"),
        ("epochs: {a: 1}", "epochs needs a value"),
        ("epochs: [1, 2]", "run.yaml: unrecognized arguments: 2"),
        ("sampler: dense", "invalid choice: 'dense'"),
        ("compile: perhaps", "compile is true or false, not perhaps"),
        ("- epochs", "needs a line `setting: value`"),
        ("", "needs a line `setting: value`"),
        ("a: [", "run.yaml is not YAML: while parsing"),
        ("help: true", "the key help, which is no setting"),
        ("config: other.yaml", "the key config, which is no setting"),
    ],
)
def test_unknown_keys_and_values_are_named(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        read_config(written(tmp_path, text), TRAIN)


def test_unknown_keys_are_named_where_a_command_has_positional_arguments(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["tables", "--config", str(written(tmp_path, "averaging: 0.9"))]) == 1
    assert "the key averaging, which is no setting" in caplog.text


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml cannot be read"):
        read_config(tmp_path / "none.yaml", TRAIN)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_config(tmp_path, TRAIN)
    (tmp_path / "run.yaml").write_bytes(b"data: caf\xe9")
    with pytest.raises(DataError, match="is not YAML"):
        read_config(tmp_path / "run.yaml", TRAIN)


def test_command_line_overrides_the_file(dataset: Path, tmp_path: Path) -> None:
    settings = f"data: {dataset}\nrecipe: paper\ninit: scratch:tiny\nepochs: 3\nsampler: equidistant\n"
    output = tmp_path / "run"
    words = ["--config", str(written(tmp_path, settings)), "--epochs", "1", "--output", str(output)]
    assert main(words) == 0
    report = store.read(output)
    assert report
    recipe = training(report).recipe
    assert (recipe.epochs, recipe.sampler, recipe.init) == (1, "equidistant", "scratch:timesformer-tiny")


def test_required_options_may_be_in_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", f"--config={written(tmp_path, 'model: /nowhere')}", "--data", str(tmp_path)]) == 1
    assert f"{tmp_path} is no data set" in caplog.text
    assert main(["--config", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml cannot be read" in caplog.text
    with pytest.raises(SystemExit):
        main(["evaluate"])
    assert "--model" in capsys.readouterr().err


def test_every_command_reads_a_file(tmp_path: Path) -> None:
    for command in COMMANDS.values():
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        text = "data: x" if "--data" in parser.format_help() else "to: x"
        assert read_config(written(tmp_path, text), command.add_arguments)


def test_short_names_are_read(tmp_path: Path) -> None:
    text = "head: probe\nprecision: bf16\naccumulation: 2\nhalf: false\n"
    settings = read_config(written(tmp_path, text), TRAIN)
    assert settings == {"head": "linear-probe", "precision": "bfloat16", "accumulation": 2, "half": False}
    text = "head_init: linear-probe\ngradient-accumulation-steps: 2\nsave_fp16: true\n"
    assert read_config(written(tmp_path, text), TRAIN) == {"head": "linear-probe", "accumulation": 2, "half": True}
