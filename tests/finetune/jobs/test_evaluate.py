import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune.config.data import DataSource
from finetune.data.splits import read_splits
from finetune.evaluation.metrics import Predictions
from finetune.jobs.evaluate import evaluate
from finetune.report.page import to_markdown
from finetune.report.schema import Report
from finetune.report.store import read as read_report
from finetune.training.checkpoint import save_checkpoint, write_precision_cost
from hmdb.errors import DataError
from hmdb.model.hub import resolve_checkpoint
from hmdb.model.loading import load_checkpoint
from hmdb.model.precision_cost import PrecisionCost
from tests.finetune.conftest import on_test, on_val
from tests.support.datasets import shape_clip, write_clip, write_dataset
from tests.support.hub import HubServer


def test_evaluating_a_run_gives_the_report_of_its_training(
    finished: tuple[Path, Report], dataset: Path, tmp_path: Path
) -> None:
    output, trained = finished
    report = evaluate(str(output), DataSource(str(dataset)), tmp_path / "report", batch_size=3)
    assert on_test(report).answers == on_test(trained).answers
    assert report.data.split == trained.data.split
    assert (report.base, report.model) == (None, "tiny"), "a checkpoint does not come from itself"
    assert "initial weights" not in (tmp_path / "report" / "report.md").read_text()
    assert "- initial weights: random\n" in (output / "report.md").read_text()
    for name in ("top1", "top1_interval", "confusion", "per_class"):
        assert getattr(on_test(report), name) == getattr(on_test(trained), name)
    here, there = on_test(report).calibration, on_test(trained).calibration
    assert here and there  # noqa: PT018
    assert vars(here) == pytest.approx(vars(there), abs=1e-6)
    other = evaluate(str(output), DataSource(str(dataset)), tmp_path / "val", split="val", sampler="random")
    assert on_val(other).clips == 8
    assert other.clip_spec.sampler == "random"
    assert "| val | 8 |" in (tmp_path / "val" / "report.md").read_text()


def test_the_overlap_with_the_training_clips_is_reported(
    finished: tuple[Path, Report], dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output, _ = finished
    source = DataSource(str(dataset))
    assert not evaluate(str(output), source, tmp_path / "own").notes
    assert not evaluate(str(output), source, tmp_path / "val", split="val").notes
    assert not caplog.records
    others = {sample.name for sample in read_splits(source, seed=1).test}
    splits = read_splits(source)
    counts = [len(others & {sample.name for sample in part}) for part in (splits.train, splits.val)]
    assert all(counts)
    report = evaluate(str(output), source, tmp_path / "other", seed=1)
    told = f"tiny was trained on {counts[0]} and was chosen by {counts[1]} of these 4 clips"
    assert told in caplog.text
    assert told in report.notes[0]
    assert told in (tmp_path / "other" / "report.md").read_text()
    with pytest.raises(DataError, match=r"tiny was trained on \d of these 8 clips, so it cannot be measured on them"):
        evaluate(str(output), source, tmp_path / "kept", seed=1, split="val", write_to_checkpoint=True)


def test_views_of_a_clip_are_averaged(finished: tuple[Path, Report], dataset: Path, tmp_path: Path) -> None:
    report = evaluate(str(finished[0]), DataSource(str(dataset)), tmp_path / "views", views="2x3")
    assert on_test(report).clips == 4
    assert report.views == "2x3"
    assert "the mean of 2x3 views" in (tmp_path / "views" / "report.md").read_text()
    for answer in on_test(report).answers:  # the frames are square, and the videos short: all views are the same
        (same,) = (each for each in on_test(finished[1]).answers if each.clip == answer.clip)
        assert answer.top[0][0] == same.top[0][0]
        assert answer.top[0][1] == pytest.approx(same.top[0][1], abs=2e-4)
    with pytest.raises(DataError, match="--views 2x3 needs --precision float32"):
        evaluate(str(finished[0]), DataSource(str(dataset)), tmp_path / "int8", views="2x3", dtype="int8")


def test_a_clip_broken_in_one_view_is_left_out_of_all(finished: tuple[Path, Report], tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 2)
    long = write_clip(root / "circle" / "long", shape_clip(0, 7, 300))
    for number in range(256, 300):  # beyond the first window; the sizes are there, the pixels are not
        frame = long / f"{number}.png"
        frame.write_bytes(frame.read_bytes()[:60])
    options: dict[str, Any] = {"split": "all", "views": "2x1"}
    with pytest.raises(DataError, match=r"1 of 5 clips cannot be read.*circle/long"):
        evaluate(str(finished[0]), DataSource(str(root)), tmp_path / "refused", **options)
    report = evaluate(str(finished[0]), DataSource(str(root), allow_broken=True), tmp_path / "report", **options)
    assert report.all
    assert len(report.all.answers) == 4
    assert list(report.data.broken) == ["circle/long"]


def test_report_and_figures_are_written(finished: tuple[Path, Report]) -> None:
    output, report = finished
    text = (output / "report.md").read_text()
    answers = on_test(report).answers
    kinds = {"right" if answer.top[0][0] == answer.label else "wrong" for answer in answers}
    assert {path.stem for path in (output / "figures").iterdir()} == {"confusion", "calibration", *kinds}
    for path in (output / "figures").iterdir():
        assert f"figures/{path.name}" in text
        with Image.open(path) as image:
            assert min(image.size) > 100
    for words in ("hash `", "clips/s", "torch ", "source video unknown for 40 of 40", "95 % Wilson"):
        assert words in text
    assert str(output.parent) not in text + (output / "report.json").read_text()


def test_unknown_classes_are_refused(finished: tuple[Path, Report], tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 10, classes=("circle", "hexagon"))
    with pytest.raises(DataError, match="1 of the 2 classes of data are not among the 2 of tiny: hexagon"):
        evaluate(str(finished[0]), DataSource(str(root)), tmp_path / "report")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(DataError, match="is not empty"):
        evaluate(str(finished[0]), DataSource(str(root)), tmp_path / "full")


def test_class_names_match_in_any_unicode_form(finished: tuple[Path, Report], dataset: Path, tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    folder = tmp_path / "tiny"
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns("runs", "figures"))
    for written, found in ((composed, decomposed), (decomposed, composed)):
        loaded = load_checkpoint(resolve_checkpoint(finished[0]))
        loaded.network.config.id2label = {0: written, 1: "square"}
        loaded.network.config.label2id = {written: 0, "square": 1}
        save_checkpoint(loaded.network, loaded.clip_spec, loaded.pixel_spec, folder)
        root = tmp_path / found
        shutil.copytree(dataset / "circle", root / found)
        shutil.copytree(dataset / "square", root / "square")
        assert evaluate(str(folder), DataSource(str(root)), root / "report", split="all").classes == (
            composed,
            "square",
        )


def test_predictions_need_one_row_per_clip() -> None:
    with pytest.raises(ValueError, match="2 clips, 1 predictions"):
        Predictions(split="test", names=("a", "b"), logits=np.zeros((1, 2)), classes=np.zeros(2), seconds=1.0)


def test_broken_clips_are_named_in_the_report(finished: tuple[Path, Report]) -> None:
    report = replace(
        finished[1],
        data=replace(finished[1].data, broken={"circle/clip_77": "it is empty"}),
        machine=replace(finished[1].machine, peak_gpu_memory=2**31),
    )
    text = to_markdown(report, ["confusion"])
    assert "circle/clip_77: it is empty" in text
    assert "2.0 GiB" in text


def test_clips_can_be_left_out_of_predictions() -> None:
    logits = np.eye(3, dtype=np.float32)
    outcome = Predictions(split="test", names=("a", "b", "c"), logits=logits, classes=np.arange(3), seconds=1.0)
    rest = outcome.without({"b"})
    assert rest.names == ("a", "c")
    assert np.array_equal(rest.logits, logits[[0, 2]])
    assert rest.classes.tolist() == [0, 2]


def test_int8_is_compared_with_float32_and_written_to_the_checkpoint(
    finished: tuple[Path, Report], dataset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns("runs", "figures", "clips*"))
    before = json.loads((folder / "config.json").read_text())
    source = DataSource(str(dataset))
    plain = evaluate(str(folder), source, tmp_path / "plain", split="val")
    assert plain.precision is None
    report = evaluate(str(folder), source, tmp_path / "int8", split="val", dtype="int8", write_to_checkpoint=True)
    found = report.precision
    assert found
    assert found.dtype == "int8"
    assert found.float32.top1 == on_val(plain).top1
    assert found.other.top1 == on_val(report).top1
    assert found.top1_change == pytest.approx(100 * (found.other.top1 - found.float32.top1))
    assert found.same_top1 >= 7 / 8
    assert 0 < found.largest_probability_change < 0.1
    assert found.logit_error is not None
    assert 0 < found.logit_error < 0.1
    assert found.other.weights_mb < found.float32.weights_mb
    assert found.on_disk_mb == (folder / "model.safetensors").stat().st_size / 1e6
    for cost in (found.float32, found.other):
        assert 0 < cost.least_ms <= cost.median_ms
    assert read_report(tmp_path / "int8") == report
    assert "| one clip, median |" in (tmp_path / "int8" / "report.md").read_text()
    kept: dict[str, Any] = {
        "top1_change": found.top1_change,
        "clips": 8,
        "part": "val",
        "same_top1": round(8 * found.same_top1),
        "relative_time": round(found.other.least_ms / found.float32.least_ms, 2),
    }
    assert json.loads((folder / "config.json").read_text()) == {**before, "int8": kept}
    loaded = load_checkpoint(resolve_checkpoint(folder))
    assert loaded.precision_costs == {"int8": PrecisionCost(**kept)}
    assert sorted(path.name for path in folder.glob(".*")) == []
    # other weights have another cost
    save_checkpoint(loaded.network, loaded.clip_spec, loaded.pixel_spec, tmp_path / "trained on")
    assert load_checkpoint(resolve_checkpoint(tmp_path / "trained on")).precision_costs == {}


def test_the_reliability_table_is_written_to_the_checkpoint(
    finished: tuple[Path, Report], dataset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns("runs", "figures", "clips*"))
    before = json.loads((folder / "config.json").read_text())
    report = evaluate(str(folder), DataSource(str(dataset)), tmp_path / "report", split="val", write_to_checkpoint=True)
    after = json.loads((folder / "config.json").read_text())
    rows = after["calibration"].pop("answers")
    assert after == before
    assert len(rows) == 10
    answers = load_checkpoint(resolve_checkpoint(folder)).calibration.bins
    assert sum(each.count for each in answers) == 8
    assert sum(each.right for each in answers) == round(8 * on_val(report).top1)


def test_bfloat16_is_compared_and_written_beside_int8(
    finished: tuple[Path, Report], dataset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns("runs", "figures", "clips*"))
    measured = PrecisionCost(top1_change=-3.0, clips=9, part="val")
    write_precision_cost(folder, "int8", measured)
    source = DataSource(str(dataset))
    report = evaluate(str(folder), source, tmp_path / "report", split="val", dtype="bfloat16", write_to_checkpoint=True)
    assert report.precision
    assert report.precision.other.top1 == on_val(report).top1
    costs = load_checkpoint(resolve_checkpoint(folder)).precision_costs
    assert costs["int8"] == measured
    assert costs["bfloat16"].top1_change == report.precision.top1_change
    assert "| | float32 | bfloat16 | |" in (tmp_path / "report" / "report.md").read_text()


@pytest.mark.parametrize(
    "options",
    [{"dtype": "float32"}, {"dtype": "int8"}, {"split": "val", "dtype": "int8", "sampler": "random"}],
)
def test_only_measurements_of_the_usual_clips_are_written(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--write-to-checkpoint needs the val split and the checkpoint's own sampler"):
        evaluate("anything", DataSource("anywhere"), tmp_path / "report", write_to_checkpoint=True, **options)


def test_nothing_is_written_to_a_checkpoint_on_the_hub(
    finished: tuple[Path, Report], dataset: Path, hub: HubServer, tmp_path: Path
) -> None:
    hub.add("someone/shapes", finished[0])
    options: dict[str, Any] = {"split": "val", "dtype": "int8", "write_to_checkpoint": True}
    with pytest.raises(DataError, match="someone/shapes is on the Hub"):
        evaluate("someone/shapes", DataSource(str(dataset)), tmp_path / "report", **options)
