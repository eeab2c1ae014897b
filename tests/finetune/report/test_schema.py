import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.fields import add_options, given
from finetune.data.splits import read_splits
from finetune.report.build import describe_data
from finetune.report.card import command
from finetune.report.schema import Report
from finetune.report.store import read, write
from hmdb.errors import DataError
from tests.finetune.conftest import training


def test_a_report_is_read_as_it_was_written(finished: tuple[Path, Report], tmp_path: Path) -> None:
    assert read(finished[0]) == finished[1]
    plan = DistillationConfig(teacher="someone/teacher", temperature=3.0)
    report = replace(finished[1], training=replace(training(finished[1]), distillation=plan))
    write(report, tmp_path)
    assert read(tmp_path) == report
    assert read(tmp_path / "nowhere") is None


@pytest.mark.parametrize("options", [{"folds": 3, "fold": 1, "allow_broken": True}, {"test_share": 0.5, "folds": 0}])
def test_the_command_divides_the_data_as_the_run_did(
    options: dict[str, Any], finished: tuple[Path, Report], dataset: Path, tmp_path: Path
) -> None:
    source = DataSource(str(dataset), **options)
    report = replace(finished[1], data=describe_data(read_splits(source), {}, source))
    write(report, tmp_path)
    report = read(tmp_path) or report
    parser = argparse.ArgumentParser()
    add_options(parser, DataSource)
    chosen, _ = parser.parse_known_args(command(report, training(report)).split())
    assert DataSource(**given(chosen, DataSource)) == replace(source, location="shapes")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 2}', '{"format": 2, "model": 7}', "\u0000", "null"])
def test_other_files_are_refused_in_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match=r"report.json is not a report that this version reads: [^\n]+$"):
        read(tmp_path)
