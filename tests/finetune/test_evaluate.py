import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune.evaluate import evaluate
from finetune.report import Outcome, to_markdown
from finetune.splits import DataSource
from hmdb.errors import DataError
from tests.datasets import write_dataset


def test_the_report_of_a_checkpoint_is_the_one_its_training_made(
    finished: tuple[Path, dict[str, Any]], dataset: Path, tmp_path: Path
) -> None:
    output, trained = finished
    report = evaluate(str(output), DataSource(str(dataset)), tmp_path / "report", batch_size=3)
    assert report["test"]["answers"] == trained["test"]["answers"]
    assert report["data"]["split"] == trained["data"]["split"]
    for name in ("top1", "top1_interval", "confusion", "per_class"):
        assert json.loads(json.dumps(report["test"][name])) == trained["test"][name]
    assert report["test"]["calibration"] == pytest.approx(trained["test"]["calibration"], abs=1e-6)
    other = evaluate(str(output), DataSource(str(dataset)), tmp_path / "val", part="val", sampler="random")
    assert other["val"]["clips"] == 8
    assert other["clip_spec"]["sampler"] == "random"
    assert "| val | 8 |" in (tmp_path / "val" / "report.md").read_text()


def test_report_and_figures_are_written(finished: tuple[Path, dict[str, Any]]) -> None:
    output, report = finished
    text = (output / "report.md").read_text()
    answers = report["test"]["answers"]
    kinds = {"right" if answer["top"][0][0] == answer["label"] else "wrong" for answer in answers}
    assert {path.stem for path in (output / "figures").iterdir()} == {"confusion", "calibration", *kinds}
    for path in (output / "figures").iterdir():
        assert f"figures/{path.name}" in text
        with Image.open(path) as image:
            assert min(image.size) > 100
    for part in ("hash `", "clips/s", "torch ", "source video unknown for 40 of 40", "95 % Wilson"):
        assert part in text
    assert str(output.parent) not in text + (output / "report.json").read_text()


def test_class_names_that_differ_from_the_checkpoints(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", 10, classes=("circle", "hexagon"))
    with pytest.raises(DataError, match="1 of the 2 classes of data are not among the 2 of tiny: hexagon"):
        evaluate(str(finished[0]), DataSource(str(root)), tmp_path / "report")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(DataError, match="is not empty"):
        evaluate(str(finished[0]), DataSource(str(root)), tmp_path / "full")


def test_an_outcome_has_one_answer_for_each_clip() -> None:
    with pytest.raises(ValueError, match="2 clips, 1 answers"):
        Outcome(part="test", names=("a", "b"), logits=np.zeros((1, 2)), classes=np.zeros(2), seconds=1.0)


def test_broken_clips_are_named_in_the_report(finished: tuple[Path, dict[str, Any]]) -> None:
    report = json.loads(json.dumps(finished[1]))
    report["data"]["broken"] = {"circle/clip_77": "it is empty"}
    report["peak_gpu_memory"] = 2**31
    text = to_markdown(report, "test", ["confusion"])
    assert "circle/clip_77: it is empty" in text
    assert "2.0 GiB" in text


def test_clips_can_be_left_out_of_an_outcome() -> None:
    logits = np.eye(3, dtype=np.float32)
    outcome = Outcome(part="test", names=("a", "b", "c"), logits=logits, classes=np.arange(3), seconds=1.0)
    rest = outcome.without({"b"})
    assert rest.names == ("a", "c")
    assert np.array_equal(rest.logits, logits[[0, 2]])
    assert rest.classes.tolist() == [0, 2]
