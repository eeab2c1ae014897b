"""Whole jobs, on a Ray of this machine."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from pyarrow import parquet
from safetensors.torch import load_file, save_file

import hmdb
from hmdb.batch_inference.ray_pipeline import WorkerPlan, cluster
from hmdb.batch_inference.run import Progress, Summary
from hmdb.cli import main
from hmdb.errors import DataError, ModelError
from hmdb.recognizer import Recognizer
from tests.support.http_server import QuietHandler, serve_folder
from tests.support.paths import ROOT
from tests.support.waiting import wait_until

READABLE = [f"{number}.mp4" for number in range(8)] + ["frames"]
BROKEN = ["cut.mp4", "empty.mp4", "text.mp4"]


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    with cluster(None):
        yield


def batch(sources: list[Path], output: Path, **options: Any) -> Summary:
    """`hmdb.batch` with one worker process, as each takes seconds to start."""
    return hmdb.batch(sources, output, device="cpu", workers=WorkerPlan(answerers=1), **options)


def table(folder: Path, name: str = "answers") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(folder / name).to_pylist()
    return sorted(rows, key=lambda row: row["path"])


def test_rows_equal_the_predictions_of_the_recognizer(
    videos: Path, checkpoint: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    steps: list[Progress] = []
    summary = batch([videos], tmp_path, model=checkpoint, embeddings=True, timeline=True, on_progress=steps.append)
    rows = table(tmp_path)
    assert [Path(row["path"]).name for row in rows] == sorted(READABLE + BROKEN)
    for row in rows:
        path = Path(row["path"])
        if path.name in BROKEN:
            with pytest.raises(hmdb.VideoError) as caught:
                recognizer(path)
            assert (row["error_class"], row["error"]) == ("VideoError", str(caught.value))
            assert row["label"] is row["top"] is row["embedding"] is None
            continue
        alone = recognizer(path)
        assert row["error"] is None
        assert (row["label"], row["is_known"], row["model"]) == (alone.label, alone.is_known, "tiny")
        assert [entry["label"] for entry in row["top"]] == list(alone.labels)
        assert [entry["probability"] for entry in row["top"]] == pytest.approx(alone.probabilities, abs=1e-5)
        np.testing.assert_allclose(row["embedding"], recognizer.embedding(path), atol=1e-4)
        segments = [segment for segment in table(tmp_path, "segments") if segment["path"] == row["path"]]
        labels = [segment.label for segment in recognizer.timeline(path).segments]
        assert [segment["label"] for segment in segments] == labels
    assert (steps[0].done, steps[-1].done, steps[-1].failed, steps[-1].total) == (0, 12, 3, 12)
    assert summary.labels.total() == 9
    assert summary.errors == Counter(VideoError=3)
    assert json.loads((tmp_path / "job.json").read_text())["dtype"] == rows[0]["dtype"] == "float32"


@pytest.mark.slow
def test_a_second_run_does_the_missing_videos(videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.mp4"
    gone.write_text("no video")
    out = tmp_path / "out"
    some = [videos / "0.mp4", videos / "text.mp4", gone]
    assert batch(some, out, model=checkpoint).answered == 3
    first = table(out)
    messages: list[str] = []
    steps: list[Progress] = []
    summary = batch([videos], out, model=checkpoint, on_message=messages.append, on_progress=steps.append)
    assert (summary.answered, summary.others) == (10, 1)
    assert (steps[0].done, steps[0].failed, steps[-1].done, steps[-1].failed) == (2, 1, 12, 3)
    existing = "2 of 12 videos were done before. 1 further rows are of videos that the sources do not name."
    assert messages == ["Model: tiny", existing]
    rows = table(out)
    assert len({row["path"] for row in rows}) == len(rows) == 13
    assert all(row in rows for row in first)
    assert batch([videos / "0.mp4"], out, model=checkpoint, on_message=messages.append).answered == 0
    assert messages[-1].endswith("12 further rows are of videos that the sources do not name.")
    with pytest.raises(DataError, match="top_k is 5 there and 2 here"):
        batch([videos], out, model=checkpoint, top_k=2)


@pytest.mark.slow
def test_changed_files_are_reported_and_retried(videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    changing, out = tmp_path / "changing.mp4", tmp_path / "out"
    changing.write_bytes((videos / "0.mp4").read_bytes())
    source = [changing, videos / "1.mp4"]
    batch(source, out, model=checkpoint, timeline=True)
    before = table(out)
    changing.write_bytes((videos / "1.mp4").read_bytes())
    messages: list[str] = []
    assert batch(source, out, model=checkpoint, timeline=True, on_message=messages.append).answered == 0
    assert messages[-1] == "1 of these have changed since; --retry-changed does them again."
    assert table(out) == before
    summary = batch(source, out, model=checkpoint, timeline=True, retry_changed=True)
    assert (summary.answered, summary.labels.total()) == (1, 2)
    assert [row["num_frames"] for row in table(out)] == [12, 12]
    assert {row["end_frame"] for row in table(out, "segments")} == {12}
    assert batch(source, out, model=checkpoint, timeline=True, retry_changed=True).answered == 0


@pytest.mark.slow
def test_a_url_with_a_new_signature_is_the_same_video(
    site: str, videos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    pytest.importorskip("aiohttp")
    listed, out = tmp_path / "list.csv", tmp_path / "out"
    names = ["0.mp4", "gone.mp4", "text.mp4"]
    for signature in ("s3cr3t", "s3cr4t"):
        listed.write_text("path\n" + "".join(f"{site}/{name}?Signature={signature}&Expires=9\n" for name in names))
        summary = batch([listed], out, model=checkpoint)
        assert summary.answered == (3 if signature == "s3cr3t" else 0)
    rows = table(out)
    assert [row["path"] for row in rows] == [f"{site}/{name}" for name in names]
    assert [row["error_class"] for row in rows] == [None, "DataError", "VideoError"]
    assert rows[0]["stamp"].startswith(f"{(videos / '0.mp4').stat().st_size}-")
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"s3cr" not in written
    assert not any("s3cr" in str(row) for row in rows)


@pytest.mark.slow
def test_failed_videos_are_retried(videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    mended = tmp_path / "mended.mp4"
    mended.write_text("not yet")
    source, folder = [mended, videos / "text.mp4"], tmp_path / "out"
    assert batch(source, folder, model=checkpoint).errors == Counter(VideoError=2)
    mended.write_bytes((videos / "0.mp4").read_bytes())
    assert batch(source, folder, model=checkpoint).answered == 0
    summary = batch(source, folder, model=checkpoint, retry_failed=True)
    assert (summary.answered, summary.labels.total(), summary.errors.total()) == (2, 1, 1)
    assert len(table(folder)) == 2


@pytest.mark.slow
def test_a_hanging_decoder_costs_its_row_only(
    videos: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMDB_DECODE_SECONDS", "0.001")
    summary = batch([videos / "0.mp4", videos / "frames"], tmp_path, model=checkpoint)
    assert (summary.labels.total(), summary.errors) == (1, Counter(VideoError=1))
    assert "takes longer than 0.001 seconds" in table(tmp_path)[0]["error"]


def test_weights_that_are_not_finite_are_refused_before_anything_is_written(
    videos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="weights of model are damaged: some are not finite"):
        batch([videos], tmp_path / "out", model=model)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in {".json", ".parquet"}]


@pytest.mark.slow
def test_an_unreachable_cluster_is_one_line(videos: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hmdb", "batch", str(videos), "--output", str(tmp_path), "--address", "127.0.0.1:9"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The Ray cluster at 127.0.0.1:9 cannot be used: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_command(
    videos: Path,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hmdb.cli.batch.LOG_SECONDS", math.inf)  # no line of progress, however slow the machine
    command = ["batch", str(videos), "--output", str(tmp_path), "--model", str(checkpoint), "--device", "cpu"]
    command += ["--answerers", "1"]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert captured.err == "Model: tiny\n"
    assert captured.out.startswith("12 rows: 9 answered, 3 failed. This run: 12 in ")
    assert captured.out.splitlines()[-1] == "       3  VideoError"


def test_without_ray_the_command_names_the_packages_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    assert main(["batch", "any.mp4", "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "batch needs Ray Data and pyarrow: pip install 'ray[data]' pyarrow 'fsspec[http]'.\n"
    )


@pytest.fixture
def held_site(videos: Path) -> Iterator[tuple[str, threading.Event]]:
    """The URL of a server that holds all responses back until the event is set."""
    pytest.importorskip("aiohttp")
    released = threading.Event()

    class HoldingHandler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 - by http.server
            released.wait()
            super().do_GET()

        def do_HEAD(self) -> None:  # noqa: N802 - by http.server
            released.wait()
            super().do_HEAD()

    with serve_folder(videos, HoldingHandler) as url:
        yield url, released
        released.set()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_loses_and_doubles_no_row(
    number: signal.Signals, held_site: tuple[str, threading.Event], videos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """The last of 60 videos arrives only after the signal, so that the job is unfinished then on any machine."""
    many = tmp_path / "many"
    many.mkdir()
    for index in range(59):
        (many / f"{index:02}.mp4").hardlink_to(videos / "0.mp4")
    url, released = held_site
    out, last = tmp_path / "out", tmp_path / "last.csv"
    last.write_text(f"path\n{url}/0.mp4\n")
    sources = [many, last]
    command = ["batch", *map(str, sources), "--output", str(out), "--model", str(checkpoint), "--device", "cpu"]
    command += ["--answerers", "1"]
    job = subprocess.Popen(
        [sys.executable, "-m", "hmdb", *command, "--part-rows", "8", "--address", address()],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(list((out / "answers").glob("*.parquet"))) >= 2, seconds=240)
    job.send_signal(number)
    _, stderr = job.communicate(timeout=120)
    released.set()
    written = len(table(out))
    assert 16 <= written < 60
    if number == signal.SIGKILL:
        assert job.returncode == -number
    else:
        assert job.returncode == 128 + number
        assert stderr.splitlines()[-1].startswith(f"Stopped: {written} of 60 videos are done.")
    before = table(out)
    assert batch(sources, out, model=checkpoint).answered == 60 - written
    rows = table(out)
    assert len({row["path"] for row in rows}) == len(rows) == 60
    assert all(row in rows for row in before)


def address() -> str:
    return str(ray.get_runtime_context().gcs_address)


def test_a_model_missing_on_another_machine_is_named(videos: Path, checkpoint: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(checkpoint, model)
    message = f"Ray has given up: {model} is neither a local folder nor a Hub id of the form owner/name. The same"
    with pytest.raises(DataError, match=re.escape(message)):
        batch([videos / "0.mp4"], tmp_path / "out", model=model, on_progress=lambda _: shutil.rmtree(model))
