import json
import shutil
from pathlib import Path

import pytest

from finetune.cli import main
from finetune.config.data import DataSource
from finetune.jobs.fit_ood import fit_ood
from finetune.report.schema import Report
from hmdb.errors import DataError
from hmdb.model.ood import OOD_FILE, OOD_KEY
from hmdb.recognizer import Recognizer


@pytest.fixture
def folder(finished: tuple[Path, Report], tmp_path: Path) -> Path:
    """A finished run without its detector."""
    copy = tmp_path / "tiny"
    shutil.copytree(finished[0], copy, ignore=shutil.ignore_patterns("runs", "figures", "clips*", OOD_FILE))
    config = json.loads((copy / "config.json").read_text())
    config.pop(OOD_KEY, None)
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def test_the_detector_is_written_into_the_checkpoint(folder: Path, dataset: Path) -> None:
    before = json.loads((folder / "config.json").read_text())
    found = fit_ood(str(folder), DataSource(str(dataset)), accept_rate=1.0)
    assert found.val.hidden == 8
    assert 0 <= found.test_accepted <= 1
    after = json.loads((folder / "config.json").read_text())
    assert {key for key in after if after[key] != before.get(key)} == {OOD_KEY}
    recognizer = Recognizer.from_pretrained(folder, device="cpu")
    assert recognizer(dataset / "circle" / "clip_00").in_distribution_score is not None


def test_training_clips_are_refused_as_val_and_test(folder: Path, dataset: Path) -> None:
    with pytest.raises(DataError, match="tiny was trained on 6 of these 8 clips, so it cannot be measured on them"):
        fit_ood(str(folder), DataSource(str(dataset)), seed=1)
    assert not (folder / OOD_FILE).exists()


def test_extra_training_clips_are_in_distribution(
    folder: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["known", "--model", str(folder), "--data", str(dataset), "--more", str(dataset), "--keep-similar"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "Fitted to the features of 48 clips" in told


@pytest.mark.parametrize("keep", [0.0, 1.5, float("nan")])
def test_rates_out_of_range_are_refused(keep: float) -> None:
    with pytest.raises(DataError, match="--accept-rate must be above 0 and at most 1"):
        fit_ood("anything", DataSource("anywhere"), accept_rate=keep)


def test_another_data_set_is_refused(folder: Path, dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(dataset / "circle", other / "round")
    shutil.copytree(dataset / "square", other / "square")
    with pytest.raises(DataError, match="does not have the classes of tiny"):
        fit_ood(str(folder), DataSource(str(other)))
    assert not (folder / OOD_FILE).exists()
