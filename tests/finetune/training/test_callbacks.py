import json
import sqlite3
from importlib.util import find_spec
from pathlib import Path

import pytest

from finetune.cli import main
from finetune.config.data import DataSource
from finetune.config.recipes import recipe_of
from finetune.jobs.train import train
from finetune.training.callbacks import check_reporters
from hmdb.errors import DataError
from tests.finetune.conftest import TINY


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--report-to no_such needs a package that is not installed: pip install no_su"):
        check_reporters(("tensorboard", "no_such"))


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is here")
def test_a_run_with_a_missing_logger_is_not_started(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["--data", str(dataset), "--output", str(tmp_path / "run"), "--report-to", "tensorboard", "wandb"]
    assert main(words) == 1
    assert "pip install wandb" in caplog.text
    assert not (tmp_path / "run").exists()


def test_a_run_without_loggers_writes_no_logs(dataset: Path, tmp_path: Path) -> None:
    train(recipe_of("paper", TINY | {"epochs": 1}), DataSource(str(dataset)), tmp_path / "run", report_to=())
    assert (tmp_path / "run" / "report.json").exists()
    assert not (tmp_path / "run" / "runs").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its server
def test_trackio_gets_the_val_figures_of_each_epoch_and_no_test_figures(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    train(recipe_of("paper", TINY), DataSource(str(dataset)), tmp_path / "run", report_to=("trackio",))
    (file,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("select run_name, metrics from metrics order by id").fetchall()
    told = [json.loads(metrics) for _, metrics in rows]
    assert file.stem == "shapes"
    assert {name for name, _ in rows} == {"run"}
    assert [row["train/epoch"] for row in told if "eval/top1" in row] == [1, 2]
    assert not [name for row in told for name in row if not name.startswith(("eval/", "train/"))]
