import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.config.data import DataSource
from finetune.config.distillation import DistillationConfig
from finetune.config.fields import add_options, given
from finetune.data.splits import read_splits
from finetune.report.card import command
from finetune.report.page import to_markdown
from finetune.report.schema import Report, describe, read, write
from hmdb.errors import DataError
from tests.finetune.conftest import on_test, training


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
    report = replace(finished[1], data=describe(read_splits(source), {}, source))
    write(report, tmp_path)
    report = read(tmp_path) or report
    parser = argparse.ArgumentParser()
    add_options(parser, DataSource)
    chosen, _ = parser.parse_known_args(command(report, training(report)).split())
    assert DataSource(**given(chosen, DataSource)) == replace(source, location="shapes")


def flat(report: Report) -> dict[str, object]:
    """The same as earlier versions wrote it."""
    old: dict[str, object] = {"model": report.model, "recipe_name": "paper", "base": None, "base_revision": None}
    recipe = vars(training(report).recipe) | {"averaging": 0.5}
    recipe.pop("ema")
    split = vars(report.data.split)
    leak = {"kind": "same file", "clip": "a", "part": "test", "other": "b", "other_part": "train"}
    headline = {name: getattr(on_test(report), name) for name in ("top1", "top5", "top1_interval", "top5_interval")}
    return old | {
        "recipe": recipe,
        "distillation": {"teacher": "t", "temperature": 2.0, "weight": 0.7, "features": 1.0, "unlabelled": None},
        "model_type": "timesformer",
        "clip_spec": report.clip_spec.to_dict(),
        "parameters": 5,
        "classes": ["circle", "square"],
        "data": {
            "name": "shapes",
            "on_hub": False,
            "split": split,
            "unlabelled": 0,
            "broken": {},
            "more": 0,
            "more_from": None,
            "leaks": {"found": [leak], "unknown_sources": 40, "clips": 40},
            "leak_lines": [],
        },
        "val": {**headline, "loss": 0.5, "clips": 8},
        "test": {**headline, "loss": 0.5, "clips": 4, "confusion": [[2, 0], [0, 2]], "answers": []},
        "test_alone": None,
        "epochs": [{"epoch": 1.0, "top1": 0.5, "top5": 1.0, "loss": 0.6}],
        "best_epoch": 1.0,
        "speed": {"train_clips_per_second": 3.0, "eval_clips_per_second": 9.0, "seconds": 11.0},
        "device": "CPU, 2 cores",
        "processes": 1,
        "peak_gpu_memory": None,
        "versions": {"torch": "2"},
    }


def test_the_reports_of_earlier_versions_are_read(finished: tuple[Path, Report], tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(flat(finished[1])))
    report = read(tmp_path)
    assert report
    assert training(report).recipe.ema == 0.5
    assert training(report).distillation == DistillationConfig(teacher="t")
    assert on_test(report).confusion == ((2, 0), (0, 2))
    assert report.machine.device == "CPU, 2 cores"
    assert on_test(report).mean_class is None
    assert "| test | 4 |" in (told := to_markdown(report, ()))
    assert "| - |" in told
    assert report.data.leaks
    assert report.data.leaks.found[0].other_split == "train"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 2}', '{"format": 2, "model": 7}', "\u0000", "null"])
def test_what_is_no_report_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match=r"report.json is not a report that this version reads: [^\n]+$"):
        read(tmp_path)
