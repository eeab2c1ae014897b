"""Two processes on one CPU do what one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.config.data import DataSource
from finetune.config.recipes import recipe_of
from finetune.jobs.train import train
from finetune.report.store import read
from tests.finetune.conftest import on_test, on_val
from tests.support.datasets import write_dataset
from tests.support.paths import ROOT
from tests.support.runs import difference

SETTINGS = {"init": "scratch:timesformer-tiny", "sampler": "equidistant", "learning_rate": 0.05, "epochs": 2}


def test_two_processes_get_the_figures_of_one(tmp_path: Path) -> None:
    # 32 train clips, so that the last batch is full too; 9 val and 5 test clips, which two cannot share evenly
    root = write_dataset(tmp_path / "data", 23)
    labels = ("circle", "square")
    clips = [(label, f"clip_{number:02}") for number in range(23) for label in labels]
    for split, chosen in (("train", clips[:32]), ("val", clips[32:41]), ("test", clips[41:])):
        rows = "\n".join(f"{label},{name}" for label, name in chosen)
        (root / f"{split}.csv").write_text(f"class,video_name\n{rows}\n")
    options = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    command = [sys.executable, *launcher, "-m", "finetune", "--data", str(root), "--output", str(tmp_path / "two")]
    # without a GPU the launcher starts its processes all the same, and they meet through gloo
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "home"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("The checkpoint is in") == 1, "only the first process speaks"

    one = train(recipe_of("paper", SETTINGS), DataSource(str(root)), tmp_path / "one")
    two = read(tmp_path / "two")
    assert two
    assert two.machine.processes == 2
    assert [answer.clip for answer in on_test(two).answers] == [answer.clip for answer in on_test(one).answers]
    assert on_test(two).clips == 5
    assert on_val(two).clips == 9
    for here, there in zip(two.evaluated.values(), one.evaluated.values(), strict=True):
        assert (here.top1, here.top5) == (there.top1, there.top5)
        assert here.loss == pytest.approx(there.loss, abs=1e-5)
    assert difference(tmp_path / "one", tmp_path / "two") < 1e-4
    assert len(list((tmp_path / "two" / "runs").iterdir())) == 1
