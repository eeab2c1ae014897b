import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from finetune.cli import main
from finetune.config.data import DataSource
from finetune.config.recipe import Recipe
from finetune.jobs import tables
from finetune.jobs.train import train as train_itself
from finetune.report.schema import Report
from hmdb.errors import DataError
from tests.finetune.conftest import TINY

CHANGES = {**TINY, "init": "scratch:tiny", "epochs": 1}


def test_rows_are_run_once_and_compared_with_the_paper(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = DataSource(str(dataset))
    runs = []
    original = train_itself

    def train(recipe: Recipe, source: DataSource, output: Path, **options: Any) -> Report:
        runs.append(output.name)
        if runs == ["table1-1", "table1-1", "table1-4"]:
            raise KeyboardInterrupt
        return original(recipe, source, output, **options)

    monkeypatch.setattr(tables, "train", train)
    names = ["table1-1", "table2-k400", "table1-4"]
    with pytest.raises(KeyboardInterrupt):
        tables.run_tables(names, source, tmp_path, CHANGES)
    made = (tmp_path / "table1-1" / "model.safetensors").stat().st_mtime_ns
    assert "table1-4" not in (tmp_path / "tables.md").read_text(), "what was cut off is not in the table"

    text = tables.run_tables(names, source, tmp_path, CHANGES)
    assert (tmp_path / "table1-1" / "model.safetensors").stat().st_mtime_ns == made
    assert (tmp_path / "tables.md").read_text() == text
    rows = json.loads((tmp_path / "tables.json").read_text())["rows"]
    assert [row["run"] for row in rows] == ["table1-1", "table1-1", "table1-4"]
    assert rows[0]["paper"] == {"what": "batch 8, SGD, learning rate 0.0035", "top1": 93.6, "top5": 99.2}
    assert rows[0]["ours"]["clips"] == 4
    assert "| table1-4 | batch 4, SGD, learning rate 0.0035 | 93.6 / 98.4 |" in text
    assert "not the paper's experiment: init scratch:tiny" in text
    assert "Our 2 classes are not the paper's 25: the figures cannot be compared." in text
    assert all(row.split("|")[4].endswith(" / - ") for row in text.splitlines()[2:5]), "top-5 of two classes"


def test_a_fitted_head_is_no_epoch_of_a_row(dataset: Path, tmp_path: Path) -> None:
    tables.run_tables(["table1-1"], DataSource(str(dataset)), tmp_path, CHANGES | {"head": "linear-probe"})
    (row,) = json.loads((tmp_path / "tables.json").read_text())["rows"]
    assert row["epochs"] == 1


def test_the_table_has_all_rows_that_the_folder_holds(dataset: Path, tmp_path: Path) -> None:
    source = DataSource(str(dataset))
    first = tables.run_tables(["table2-k400"], source, tmp_path, CHANGES)
    made = (tmp_path / "table2-k400" / "model.safetensors").stat().st_mtime_ns
    text = tables.run_tables(["table1-4"], source, tmp_path, CHANGES)
    assert (tmp_path / "table2-k400" / "model.safetensors").stat().st_mtime_ns == made
    (row,) = (line for line in first.splitlines() if "table2-k400" in line)
    assert row in text.splitlines()
    assert "| table1-4 |" in text
    with pytest.raises(DataError, match=r"table2-k400 holds a run with other settings \(epochs was 1, now 2\)"):
        tables.run_tables(["table1-4"], source, tmp_path, CHANGES | {"epochs": 2})
    shutil.rmtree(tmp_path / "table2-k400")
    assert "table2-k400" not in tables.run_tables(["table1-4"], source, tmp_path, CHANGES)


def test_an_unknown_row(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no table row table1-5; known are table1-1"):
        tables.run_tables(["table1-5"], DataSource(str(dataset)), tmp_path, {})


def test_the_job(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [word for name, value in CHANGES.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["tables", "table4-vivit", "--data", str(dataset), "--output", str(tmp_path), *options]) == 0
    assert "| table4-vivit | ViViT | 88.8 / 99.2 |" in capsys.readouterr().out
    assert json.loads((tmp_path / "table4-vivit" / "config.json").read_text())["model_type"] == "vivit"
