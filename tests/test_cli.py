import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hmdb.cli import COMMANDS, main
from hmdb.cli.classify import VideoResult, to_table
from hmdb.recognizer import Recognizer
from hmdb.video.discover import find_videos, left_out_text
from tests.support.clips import moving_bar, write_frames, write_mp4
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    write_mp4(folder / "a.mp4", moving_bar(20))
    write_mp4(folder / "deeper.mp4", moving_bar(30))
    (folder / "notes.txt").write_text("no video")
    write_frames(folder / "frames", moving_bar(9))
    return folder


def test_table_has_a_line_for_each_video(videos: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(videos), "--model", str(checkpoint), "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split()[0] for line in lines] == ["a.mp4", "deeper.mp4", "frames"]
    assert all(line.count("%") == 5 for line in lines)
    assert captured.err.startswith("Note: 1 file was left out: notes.txt\nModel: tiny\n")


def test_json_output(videos: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(videos / "a.mp4"), "--model", str(checkpoint), "--json", "--top-k", "2"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["video"].endswith("a.mp4")
    assert len(answer["top"]) == 2
    assert len(answer["frames"]) == 8
    assert answer["model"] == "tiny"


def test_int8_option_works_for_any_checkpoint(
    videos: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(videos / "a.mp4"), "--model", str(checkpoint), "--device", "cpu", "--json"]
    answers = {}
    for dtype in ("float32", "int8"):
        assert main([*command, "--dtype", dtype]) == 0
        (answer,) = json.loads(capsys.readouterr().out)
        answers[dtype] = {each["label"]: each["probability"] for each in answer["top"]}
    assert answers["int8"] != answers["float32"]
    both = answers["int8"].keys() & answers["float32"].keys()
    assert len(both) >= 3
    assert all(answers["int8"][label] == pytest.approx(answers["float32"][label], abs=0.01) for label in both)


def test_csv_output_includes_failures(videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    table = tmp_path / "answers.csv"
    paths = [str(videos / "a.mp4"), str(videos / "gone.mp4")]
    assert main([*paths, "--model", str(checkpoint), "--csv", str(table)]) == 1
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5", ""]
    assert rows[-1]["error"] == "gone.mp4: there is no such file."


def test_bad_file_fails_alone(videos: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(videos / name) for name in ("notes.txt", "a.mp4")]
    assert main([*paths, "--model", str(checkpoint)]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("a.mp4")
    assert "notes.txt" in captured.err
    assert "Traceback" not in captured.err


def test_empty_folder_is_an_error(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--model", str(checkpoint)]) == 1
    captured = capsys.readouterr()
    assert "holds no videos or frames" in captured.err
    assert captured.out == ""


def test_missing_model_is_one_line(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(video), "--model", "./nothing"]) == 1
    assert capsys.readouterr().err == "./nothing is neither a local folder nor a Hub id of the form owner/name.\n"


@pytest.mark.parametrize("target", ["nowhere/x.csv", "folder", "x" * 300])
def test_unwritable_csv_fails_before_any_video_is_read(
    target: str, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recognizer, "__call__", lambda *_, **__: pytest.fail("a video was read"))
    (tmp_path / "folder").mkdir()
    assert main(["any.mp4", "--model", str(checkpoint), "--csv", str(tmp_path / target)]) == 1
    assert "cannot be written: " in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_csv_is_replaced_atomically(
    video: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table.csv"
    (tmp_path / "link.csv").symlink_to(table)
    command = [str(video), "--model", str(checkpoint), "--csv", str(tmp_path / "link.csv")]
    assert main(command) == 0
    whole = table.read_text()
    assert whole.startswith("video,rank")

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Recognizer, "__call__", stopped)
    assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "Interrupted."
    assert table.read_text() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "table.csv"]


def test_impossible_paths_fail_alone(videos: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = ["x" * 300 + ".mp4", str(videos / "a.mp4" / "below"), str(videos / "a.mp4")]
    assert main([*paths, "--model", str(checkpoint)]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("a.mp4")
    assert len(captured.err.splitlines()) == 3  # with the model's


def test_unreadable_folder_fails_alone(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    shutil.copy(video, tmp_path / "open.mp4")
    listed = os.scandir

    def refusing(path: Path) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert find_videos(tmp_path) == [closed, tmp_path / "open.mp4"]


def test_files_that_are_no_videos_are_left_out_and_named(
    tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.MTS", "notes.txt", "list.csv", "c.doc", "d.zip"):
        (tmp_path / name).write_bytes(video.read_bytes() if name == "a.MTS" else b"text")
    left_out: list[Path] = []
    assert find_videos(tmp_path, left_out.append) == [tmp_path / "a.MTS"]
    assert left_out_text(left_out) == "4 files were left out: c.doc, d.zip, list.csv, ..."
    main([str(tmp_path)])
    assert "Note: 4 files were left out: c.doc, d.zip, list.csv, ...\n" in capsys.readouterr().err


def test_link_loops_and_hidden_files_are_skipped(tmp_path: Path, video: Path) -> None:
    shutil.copy(video, tmp_path / "a.mp4")
    (tmp_path / "._a.mp4").write_bytes(b"what macOS knows of a.mp4")
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "of_nothing").symlink_to("gone")
    assert find_videos(tmp_path) == [tmp_path / "a.mp4"]


def test_file_names_of_any_bytes_are_written(
    tmp_path: Path, video: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, table = tmp_path / "videos", tmp_path / "table.csv"
    folder.mkdir()
    for name in (b"\xff\xfe.mp4", b"two\nlines\x1b[2J.mp4"):
        try:
            shutil.copy(video, os.fsdecode(os.fsencode(folder) + b"/" + name))
        except OSError:
            pytest.skip("names are UTF-8 here")
    command = [str(folder), "--model", str(checkpoint), "--top-k", "1"]
    assert main([*command, "--csv", str(table)]) == 0
    assert b"\xff\xfe.mp4,1," in table.read_bytes()
    assert main([*command, "--json"]) == 0
    capsys.readouterr()
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "two?lines?[2J.mp4" in "".join(lines)
    assert "".join(lines).isprintable()


def test_videos_of_the_same_name_show_their_paths(
    tmp_path: Path, video: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one/a.mp4", "two/a.mp4", "two/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(video, tmp_path / name)
    assert main([str(tmp_path), "--model", str(checkpoint)]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [str(tmp_path / "one/a.mp4"), str(tmp_path / "two/a.mp4"), "b.mp4"]


def test_table_shows_rejected_clips(tmp_path: Path, checkpoint: Path) -> None:
    still = write_mp4(tmp_path / "still.mp4", np.full((30, 120, 160, 3), 90, np.uint8))
    assert main([str(still), "--model", str(checkpoint), "--top-k", "1", "--csv", str(tmp_path / "table.csv")]) == 0
    (row,) = csv.DictReader((tmp_path / "table.csv").open())
    assert (row["rank"], row["is_known"]) == ("1", "false")


def test_table_row_ends_with_reason_and_notes(tmp_path: Path, recognizer: Recognizer) -> None:
    still = write_mp4(tmp_path / "still.mp4", np.full((30, 120, 160, 3), 90, np.uint8))
    moving = write_mp4(tmp_path / "moving.mp4", moving_bar(20))
    answers = [
        VideoResult(video=path, prediction=recognizer(path, top_k=1).to_dict() | {"notes": notes}, error=None)
        for path, notes in ((still, []), (moving, []), (still, ["Damaged."]), (moving, ["Damaged."]))
    ]
    lines = to_table(answers).splitlines()
    assert lines[0].endswith("%  Nothing moves in this clip.")
    assert lines[1].endswith("%")
    assert lines[2].endswith("%  Nothing moves in this clip. Damaged.")
    assert lines[3].split("%")[1].strip() == "Damaged."


@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/stdout")
def test_csv_can_be_written_to_a_pipe(video: Path, checkpoint: Path) -> None:
    reading, writing = os.pipe()
    assert main([str(video), "--model", str(checkpoint), "--csv", f"/dev/fd/{writing}"]) == 0
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        assert pipe.readline() == "video,rank,label,probability,error,is_known\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes")
def test_closed_pipe_is_not_an_error(video: Path, checkpoint: Path) -> None:
    command = [sys.executable, "-m", "hmdb", "--json", str(video), "--model", str(checkpoint)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout
        assert run.stderr
        run.stdout.close()
        assert run.stderr.read() == "Model: tiny\n"
    assert run.returncode == 1


def test_empty_path_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([""])
    assert "the path is empty" in capsys.readouterr().err


def test_revision_without_a_model_is_refused(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(video), "--revision", "main"])
    assert "--revision needs a model on the Hub" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("count", ["0", "-1", "²", "many"])
def test_counts_are_whole_numbers(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["any.mp4", f"--top-k={count}"])
    assert "is not a whole number of at least 1" in capsys.readouterr().err


def test_help_lists_the_commands_and_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    told = capsys.readouterr().out
    assert all(f"\n    {name} " in told for name in COMMANDS)
    assert "VIDEO... is short for" in told


def test_default_command_can_be_named(video: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(video), "--model", str(checkpoint), "--top-k", "1"]
    assert main(command) == 0
    plain = capsys.readouterr()
    assert main(["classify", *command]) == 0
    assert capsys.readouterr() == plain
