from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from finetune.config.data import DataSource
from finetune.config.recipes import recipe_of
from finetune.jobs.train import train
from finetune.report.schema import Report, SplitReport, TrainingReport
from tests.support.datasets import write_dataset
from tests.support.hub import HubServer

TINY: dict[str, object] = {
    "init": "scratch:timesformer-tiny",
    "sampler": "equidistant",
    "learning_rate": 0.05,
    "epochs": 2,
}


def training(report: Report) -> TrainingReport:
    """The training part of a report, which must be present."""
    assert report.training
    return report.training


def on_test(report: Report) -> SplitReport:
    assert report.test
    return report.test


def on_val(report: Report) -> SplitReport:
    assert report.val
    return report.val


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost these small networks more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 clips: 28 train, 8 val, 4 test."""
    return write_dataset(tmp_path_factory.mktemp("data") / "shapes", 20)


@pytest.fixture(scope="session")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """A run that is complete: its folder, and its report. Not to be changed."""
    output = tmp_path_factory.mktemp("runs") / "tiny"
    return output, train(recipe_of("paper", TINY), DataSource(str(dataset)), output)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        server.use(monkeypatch, tmp_path / "cache")
        yield server
