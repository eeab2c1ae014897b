import csv
import json
from pathlib import Path

import pytest

from hmdb.cli import main
from tests.conftest import moving_bar, write_frames, write_mp4


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    write_mp4(folder / "a.mp4", moving_bar(20))
    write_mp4(folder / "deeper.mp4", moving_bar(30))
    (folder / "notes.txt").write_text("no video")
    write_frames(folder / "frames", moving_bar(9))
    return folder


def test_a_line_for_each_video(videos: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(videos), "--model", str(checkpoint), "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split()[0] for line in lines] == ["a.mp4", "deeper.mp4", "frames"]
    assert all(line.count("%") == 5 for line in lines)
    assert captured.err.startswith("Model: tiny\n")


def test_json_for_programs(videos: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(videos / "a.mp4"), "--model", str(checkpoint), "--json", "--top-k", "2"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["video"].endswith("a.mp4")
    assert len(answer["top"]) == 2
    assert len(answer["frames"]) == 8
    assert answer["model"] == "tiny"


def test_csv_for_programs_with_the_failed_ones_in_it(videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    table = tmp_path / "answers.csv"
    paths = [str(videos / "a.mp4"), str(videos / "gone.mp4")]
    assert main([*paths, "--model", str(checkpoint), "--csv", str(table)]) == 1
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", ""]
    assert rows[-1]["error"] == "gone.mp4: there is no such file."


def test_a_bad_file_costs_only_its_own_answer(
    videos: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(videos / name) for name in ("notes.txt", "a.mp4")]
    assert main([*paths, "--model", str(checkpoint)]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("a.mp4")
    assert "notes.txt" in captured.err
    assert "Traceback" not in captured.err


def test_an_empty_folder_is_said(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--model", str(checkpoint)]) == 1
    assert "holds no frames" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_one_line(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(video), "--model", "./nothing"]) == 1
    assert capsys.readouterr().err == "./nothing is neither a folder here nor a Hub id of the form owner/name.\n"


def test_a_table_that_cannot_be_written_is_one_line(
    video: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(video), "--model", str(checkpoint), "--csv", "/no/such/folder/x.csv"]) == 1
    assert "cannot be written" in capsys.readouterr().err
