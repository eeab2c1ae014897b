from __future__ import annotations

import os
from pathlib import Path

# Set before any library reads them: the tests ask no network and write nothing into the home folder.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("MPLCONFIGDIR", str(Path(__file__).parents[1] / ".pytest_cache" / "matplotlib"))
os.environ.pop("HMDB_MODEL", None)
# One thread per process and per thread of a test: the networks here are tiny, and on a busy machine two threads wait
# for each other by spinning.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from transformers.utils.logging import disable_progress_bar

from hmdb.recognizer import Recognizer
from tests.support.checkpoints import write_checkpoint
from tests.support.clips import moving_bar, write_mp4

disable_progress_bar()  # type: ignore[no-untyped-call]
torch.set_num_threads(1)  # also where torch was imported before this


def pytest_configure(config: pytest.Config) -> None:
    if os.name == "posix":
        config.pluginmanager.import_plugin("tests.support.guard")


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An mp4 of 90 frames, 3.6 s."""
    return write_mp4(tmp_path_factory.mktemp("videos") / "bar.mp4", moving_bar(90))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def recognizer(checkpoint: Path) -> Recognizer:
    return Recognizer.from_pretrained(checkpoint, device="cpu")
