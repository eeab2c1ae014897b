"""Times the decoding of eight equidistant frames: by a worker, in this process, and by transformers' loader."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import decord
import numpy as np
from transformers.video_utils import load_video

from benchmarks.clips import FPS, write_clip, write_repeated
from benchmarks.race import Row, race
from hmdb.clips.sampling import evenly_spaced
from hmdb.video import open_video, worker_pool
from hmdb.video.worker_process import WorkerProcess


def rows(folder: Path, rounds: int, models: Sequence[str] = ()) -> Iterator[Row]:
    clip = write_clip(folder / "clip.mp4")
    yield from compare("10 s of 320x240, H.264", clip, rounds)
    avi = write_clip(folder / "clip.avi", "mpeg4", {"b": "1500k", "g": "12"})
    yield from compare("10 s of 320x240, MPEG-4 in AVI", avi, rounds)
    large = write_clip(folder / "5s.mp4", options={"preset": "ultrafast"}, num_frames=5 * FPS, size=(1920, 1080))
    yield from compare("60 s of 1080p, H.264", write_repeated(folder / "60s.mp4", large, 12), max(rounds // 3, 2))


def compare(work: str, path: Path, rounds: int) -> list[Row]:
    ways: dict[str, Callable[[Path], np.ndarray]] = {
        "hmdb": with_worker,
        "hmdb, its decoding process unconfined": unconfined,
        "decord, in this process": in_sequence if path.suffix == ".avi" else at_random,
        "transformers.load_video, PyAV": with_transformers,
        "transformers.load_video, decord": partial(with_transformers, backend="decord"),
    }
    pixels = {way: read(path) for way, read in ways.items()}
    ours = pixels["hmdb"]
    notes = {
        way: "the same pixels" if np.array_equal(ours, found) else f"of {found.shape[2]}x{found.shape[1]}"
        for way, found in pixels.items()
        if way != "hmdb"
    }
    return race("decode", work, {way: partial(read, path) for way, read in ways.items()}, rounds, notes)


def with_worker(path: Path) -> np.ndarray:
    video = open_video(path)
    return video.frames_at(evenly_spaced(video.num_frames, 8)).pixels


class FreeWorker(WorkerProcess):
    module = "benchmarks.free_worker"


UNCONFINED = worker_pool.Pool(FreeWorker)
atexit.register(UNCONFINED.close)


def unconfined(path: Path) -> np.ndarray:
    default, worker_pool._pool = worker_pool._pool, UNCONFINED
    try:
        return with_worker(path)
    finally:
        worker_pool._pool = default


def at_random(path: Path) -> np.ndarray:
    reader = decord.VideoReader(str(path), num_threads=1)
    pixels: np.ndarray = reader.get_batch(evenly_spaced(len(reader), 8)).asnumpy()
    return pixels


def in_sequence(path: Path) -> np.ndarray:
    reader = decord.VideoReader(str(path), num_threads=1)
    wanted = evenly_spaced(len(reader), 8)
    frames = (reader.next() for _ in range(wanted[-1] + 1))
    return np.stack([frame.asnumpy() for index, frame in enumerate(frames) if index in wanted])


def with_transformers(path: Path, backend: str = "pyav") -> np.ndarray:
    def indices(metadata: Any, **_: Any) -> np.ndarray:
        return np.array(evenly_spaced(int(metadata.total_num_frames), 8))

    pixels: np.ndarray = load_video(str(path), backend=backend, sample_indices_fn=indices)[0]  # type: ignore[arg-type]
    return pixels
