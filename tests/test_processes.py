"""Two processes share a list of videos and write one table."""

import os
import subprocess
import sys
from pathlib import Path

from hmdb.cli import main
from hmdb.machine import Processes
from tests.conftest import moving_bar, write_mp4
from tests.test_house import ROOT


def test_alone_a_process_does_all_of_it() -> None:
    alone = Processes()
    assert (alone.index, alone.count, alone.device) == (0, 1, None)
    assert alone.gather(list(alone.share([3, 1, 2]))) == [3, 1, 2]


def test_two_processes_write_what_one_does(tmp_path: Path, checkpoint: Path) -> None:
    videos = [str(write_mp4(tmp_path / f"{n}.mp4", moving_bar(n))) for n in (20, 8, 30, 12)]
    videos.insert(1, str(tmp_path / "gone.mp4"))
    rest = [*videos, "--model", str(checkpoint), "--csv"]
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    # without a GPU the launcher starts its processes all the same, and they meet through gloo
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "home"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "hmdb", *rest, str(tmp_path / "two.csv")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stderr.count("Model: tiny") == 1, done.stderr[-2000:]
    assert done.returncode == 1, "a video is missing"
    assert main([*rest, str(tmp_path / "one.csv")]) == 1
    assert (tmp_path / "two.csv").read_text() == (tmp_path / "one.csv").read_text()
