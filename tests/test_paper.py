"""`make paper` from end to end, on a Hub of our own that has the official names and layout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import TimesformerConfig

from hmdb.model import KINETICS_400
from tests.support.clips import write_mp4
from tests.support.datasets import shape_clip
from tests.support.hub import HubServer
from tests.support.official import TIMESFORMER_PIXELS, add_official

HMDB51 = "CVML-TueAI/HMDB51"
CLASSES = ("cartwheel", "golf", "wave")


pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


def test_data_that_are_named_and_not_there_are_not_downloaded(tmp_path: Path) -> None:
    words = [
        "make",
        "--old-file=.venv/.dev",
        "paper",
        f"DATA={tmp_path / 'typo'}",
        f"HMDB51={tmp_path / 'HMDB51'}",
        "BIN=/nowhere",
    ]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"There is no {tmp_path / 'typo'}; without DATA= it is made from HMDB51." in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_papers_first_row(tmp_path: Path) -> None:
    """Data and weights are downloaded, 20 clips of two classes drawn, a small network trained for one epoch."""
    videos = tmp_path / "on_hub" / "Videos"
    for kind, label in enumerate(CLASSES):
        (videos / label).mkdir(parents=True)
        for number in range(21):
            write_mp4(videos / label / f"{number:02}_{label}_f_cm_np1_fr_med_0.avi", shape_clip(kind, number))
    small = TimesformerConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    with HubServer() as hub:
        hub.add(HMDB51, tmp_path / "on_hub", repo_type="dataset")
        add_official(hub, KINETICS_400, small, TIMESFORMER_PIXELS, tmp_path / "official")
        done = subprocess.run(
            [
                *("make", "--old-file=.venv/.dev", "paper", f"BIN={Path(sys.executable).parent}"),
                f"HMDB51={tmp_path / 'HMDB51'}",
                *("SUBSET=--classes cartwheel golf --clips 20", f"SETTINGS=--epochs 1 --output {tmp_path / 'runs'}"),
            ],
            env={**os.environ, **hub.environment(tmp_path / "cache"), "DATA": str(tmp_path / "HMDB_simp")},
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "| table1-1 | batch 8, SGD, learning rate 0.0035 | 93.6 / 99.2 |" in done.stdout
    assert "Ours: 4 test clips of HMDB_simp" in done.stdout
    assert sorted(path.name for path in (tmp_path / "HMDB_simp").iterdir() if path.is_dir()) == ["cartwheel", "golf"]
    assert not [request for request in hub.requests if "pytorch_model.bin" in request]
