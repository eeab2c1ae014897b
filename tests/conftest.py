from __future__ import annotations

import os
from pathlib import Path

# Before any library reads them: the tests ask no network and leave no trace in the home folder.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
os.environ.pop("HMDB_MODEL", None)
# The networks here are tiny, and two threads on a busy machine wait for each other by spinning: each of the processes
# that run the tests has one, and so has every thread that a test starts.
os.environ["OMP_NUM_THREADS"] = "1"

import av
import numpy as np
import pytest
import torch
from PIL import Image
from transformers.utils.logging import disable_progress_bar

from finetune.labels import HMDB_SIMP
from finetune.networks.start import start
from finetune.training.checkpoint import save_checkpoint
from hmdb.recognizer import Recognizer

disable_progress_bar()  # type: ignore[no-untyped-call]
torch.set_num_threads(1)  # also where torch was imported before this


def pytest_configure(config: pytest.Config) -> None:
    if os.name == "posix":
        config.pluginmanager.import_plugin("tests.guard")


def moving_bar(num_frames: int, size: tuple[int, int] = (160, 120)) -> np.ndarray:
    """uint8 (N, H, W, 3): a bright bar that wanders over a dark field, so that every frame differs."""
    width, height = size
    frames = np.full((num_frames, height, width, 3), (30, 60, 45), np.uint8)
    for index, frame in enumerate(frames):
        left = index * (width - 20) // max(num_frames - 1, 1)
        frame[height // 4 : -height // 4, left : left + 20] = (240, 180, 60)
    return frames


def write_mp4(path: Path, frames: np.ndarray, fps: int = 25) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_frames(folder: Path, frames: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{index}{suffix}")
    return folder


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An mp4 of 90 frames, 3.6 s."""
    return write_mp4(tmp_path_factory.mktemp("videos") / "bar.mp4", moving_bar(90))


def write_checkpoint(folder: Path, init: str = "scratch:timesformer-tiny", sampler: str | None = None) -> Path:
    """A small checkpoint with random, seeded weights."""
    torch.manual_seed(0)
    origin = start(init, HMDB_SIMP, sampler=sampler, extension=None, paper_pixels=True)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def recognizer(checkpoint: Path) -> Recognizer:
    return Recognizer.from_pretrained(checkpoint, device="cpu")
