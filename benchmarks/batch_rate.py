"""Throughput of `python -m hmdb batch` compared with the plain command, its profile, and its memory."""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from PIL import Image
from pyarrow import parquet

from benchmarks.clips import FPS, write_clip
from hmdb.batch_inference.parquet_store import ParquetStore
from hmdb.recognizer import Recognizer
from hmdb.video.discover import find_videos

Row = dict[str, Any]
TURNS = 3
LOOK_SECONDS = 1.0  # between two looks at the memory of all processes, which cost something themselves
WRITES = 10


def rate(folder: Path, count: int) -> Row:
    """Videos per second of `batch` and of the plain command, interleaved; start-up excluded."""
    many = folder / "many"
    many.mkdir()
    clips = [write_clip(folder / f"clip{seed}.mp4", num_frames=3 * FPS, seed=seed) for seed in range(8)]
    for number in range(count):
        os.link(clips[number % len(clips)], many / f"{number:05}.mp4")
    videos = find_videos(many)
    recognizer = Recognizer.from_pretrained(device="cpu")
    recognizer(videos[0]).to_dict()
    here = psutil.Process()
    plain, engine = [], []
    for turn in range(TURNS):
        before = Look(time.monotonic(), 0, 0.0, busy(here))
        for video in videos:
            recognizer(video).to_dict()
        plain.append(Pace.between(before, Look(time.monotonic(), count, 0.0, busy(here))))
        seen = run([str(many), "--part-rows", str(max(count // 20, 1))], folder / f"out{turn}")
        engine.append(Pace.between(seen[0], seen[-1]))
        print(f"plain {plain[-1].rounded()}, batch {engine[-1].rounded()}", file=sys.stderr)
    ratios = [ours.rate / theirs.rate for ours, theirs in zip(engine, plain, strict=True)]
    return {
        "videos": count,
        "plain: videos a second, of a core for each": [each.rounded() for each in plain],
        "batch: videos a second, of a core for each": [each.rounded() for each in engine],
        "batch over plain": [round(each, 2) for each in ratios],
        "median": round(statistics.median(ratios), 2),
        "shares": shares(folder, many, folder / "out0", count),
    }


class Look(NamedTuple):
    """At a job: when, rows that are written, MB that all its processes hold, seconds of a core that they took."""

    time: float
    rows: int
    held: float
    busy: float


class Pace(NamedTuple):
    """Videos a second, and seconds of a core for each."""

    rate: float
    busy: float

    @classmethod
    def between(cls, first: Look, last: Look) -> Pace:
        rows = last.rows - first.rows
        return cls(rows / (last.time - first.time), (last.busy - first.busy) / rows)

    def rounded(self) -> tuple[float, float]:
        return round(self.rate, 2), round(self.busy, 4)


def shares(folder: Path, many: Path, output: Path, count: int) -> Row:
    """Seconds of a process for each video: fetching over loopback, decoding, the network, writing."""
    local = parquet.read_table(output / "answers")
    with served(many) as url:
        listed = folder / "urls.csv"
        listed.write_text("path\n" + "".join(f"{url}/{video.name}\n" for video in sorted(many.iterdir())[:100]))
        run([str(listed)], folder / "fetched")
    fetched = parquet.read_table(folder / "fetched" / "answers")
    target = ParquetStore(str(folder / "written"))
    target.start({"timeline": False})
    began = time.monotonic()
    for _ in range(WRITES):
        target.write(local)
    writing = (time.monotonic() - began) / (WRITES * local.num_rows)
    target.close()
    return {
        "bytes of a video": round(statistics.mean(path.stat().st_size for path in many.iterdir())),
        "bytes of a row": round(sum(path.stat().st_size for path in (output / "answers").iterdir()) / count),
        "fetch, s": median(fetched, "fetch_seconds"),
        "decode, s": median(local, "decode_seconds"),
        "network, s": median(local, "answer_seconds"),
        "write, s": round(writing, 6),
    }


def median(table: Any, column: str) -> float:
    """Seconds, of the rows."""
    middle: float = statistics.median(table[column].to_pylist())
    return round(middle, 4)


def memory(folder: Path, model: Path, count: int) -> Row:
    """MB of all processes of a job, as rows come: PSS, in which what several share is counted once."""
    many = folder / "many"
    one = many / "00000"
    one.mkdir(parents=True)
    for number in range(8):
        Image.new("RGB", (64, 48), (number * 20, 80, 120)).save(one / f"{number}.png")
    for number in range(1, count):
        other = many / f"{number:05}"
        other.mkdir()
        for frame in one.iterdir():
            os.link(frame, other / frame.name)
    seen = run([str(many), "--model", str(model), "--part-rows", "50"], folder / "out")
    wanted = [at for at in (100, 300, 1000, 3000, 10_000, 30_000) if at <= count]
    near = {at: min((abs(each.rows - at), each) for each in seen)[1] for at in wanted}
    first = next(iter(near.values())).held
    return {
        "rows": count,
        "MB": {at: round(each.held) for at, each in near.items()},
        "of that at 100": {at: round(each.held / first, 3) for at, each in near.items()},
        "videos a second, of a core for each": Pace.between(seen[0], seen[-1]).rounded(),
    }


def run(options: list[str], output: Path) -> list[Look]:
    """A job of this machine alone, looked at whenever there are more rows.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "hmdb", "batch", *options, "--output", str(output), "--device", "cpu"]
    environment = os.environ | {"RAY_worker_niceness": "0"}  # on a busy machine the plain loop would be ahead of it
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)  # noqa: S603 - ourselves
    seen: list[Look] = []
    parts: dict[Path, int] = {}
    looked = held = 0.0
    while process.poll() is None:
        for part in (output / "answers").glob("*.parquet"):
            if part not in parts:
                parts[part] = parquet.read_metadata(part).num_rows
        if time.monotonic() - looked > LOOK_SECONDS:
            held, looked = proportional(psutil.Process(process.pid)), time.monotonic()
        if (rows := sum(parts.values())) and (not seen or rows > seen[-1].rows):
            seen.append(Look(time.monotonic(), rows, held, busy(psutil.Process(process.pid))))
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"the job ended with {process.returncode}")
    return seen


def proportional(process: psutil.Process) -> float:
    """MB of a process and its children: PSS, in which a page that n of them share is an n-th in each."""
    found = 0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found += each.memory_full_info().pss
    return found / 1e6


def busy(process: psutil.Process) -> float:
    """Seconds of a core that a process and its children took."""
    found = 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found += sum(each.cpu_times()[:2])
    return found


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder behind http on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
