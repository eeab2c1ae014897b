"""Robustness against kills, speed and memory of `python -m hmdb batch`:
`python -m benchmarks.batch kills --data FOLDER... [--count 2000]`, `... rate`, `... memory`

`kills` starts two Ray nodes on this machine, kills one with SIGKILL in the middle of a job, then the driver, starts
the job again, and compares what is there with an undisturbed job. A tiny network with
random weights answers, as it is the rows that are counted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from pyarrow import parquet

from benchmarks import batch_rate
from benchmarks.clips import FPS, write_clip
from finetune.config.hmdb_simp import HMDB_SIMP
from finetune.models.initial import load_initial
from finetune.training.checkpoint import save_checkpoint
from hmdb.video.discover import find_videos

Row = dict[str, Any]
CLOSE = 1e-5  # between numbers: the order of the clips of a batch moves them by less
CLOCKS = frozenset({"fetch_seconds", "decode_seconds", "answer_seconds"})  # which no two runs have in common
NODE = ("--num-cpus=1", "--object-store-memory=300000000", "--disable-usage-stats", "--block")
ANSWERED = (0, 1)  # exit statuses of a job that came to its end; 1 where videos failed
PATIENCE = 1800.0  # seconds


def kills(folder: Path, data: list[Path], count: int) -> Row:
    """One node and the driver are killed; the answers are those of an undisturbed job."""
    videos = gather(folder / "videos", data, count)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # of this cluster alone
    os.environ.setdefault("HMDB_DECODE_SECONDS", "60")  # a busy machine shall not decide what can be read
    job = Job(folder, videos, tiny(folder / "tiny"), free_port())
    with node("--head", f"--port={job.port}", "--include-dashboard=false"):
        with node(f"--address={job.address}") as second:
            began = time.monotonic()
            job.run(folder / "undisturbed")
            found: Row = {"videos": count, "undisturbed, s": round(time.monotonic() - began)}
            output = folder / "disturbed"
            driver = job.begun(output)
            wait_for(lambda: rows_in(output) >= count // 4 and actors_of(second) > 0, driver)
            found["node killed"] = state(output, actors=actors_of(second))
            kill(second)
        before = rows_in(output)
        wait_for(lambda: rows_in(output) >= max(before + 100, count // 2), driver)
        found["driver killed"] = state(output)
        driver.kill()
        if (status := driver.wait()) != -signal.SIGKILL:
            raise RuntimeError(f"the driver ended by itself with {status}")
        job.run(output)
    return found | compare(folder / "undisturbed", output, count)


class Job:
    """`python -m hmdb batch` on a cluster."""

    def __init__(self, folder: Path, videos: Path, model: Path, port: int) -> None:
        self.port, self.address = port, f"127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "hmdb", "batch", str(videos), "--model", str(model), "--device", "cpu"]
        self._command += ["--part-rows", "50", "--address", self.address]
        self._log = (folder / "log.txt").open("ab")

    def begun(self, output: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._command, "--output", str(output)], stdout=self._log)  # noqa: S603 - ourselves

    def run(self, output: Path) -> None:
        ended(self.begun(output))


def ended(job: subprocess.Popen[bytes]) -> None:
    """
    Raises:
        RuntimeError: it did not come to its end.
    """
    if (status := job.wait(PATIENCE)) not in ANSWERED:
        raise RuntimeError(f"a job ended with {status}")


def state(output: Path, **more: int) -> Row:
    """Counts the rows written so far, and the duplicates among them."""
    paths = Counter(row["path"] for row in rows_of(output))
    return {"rows": paths.total(), "doubled": paths.total() - len(paths), **more}


def compare(expected: Path, found: Path, count: int) -> Row:
    rows = [rows_of(folder) for folder in (expected, found)]
    by_path = [{row["path"]: row for row in some} for some in rows]
    unlike = Counter(
        column
        for path in by_path[0].keys() & by_path[1].keys()
        for column in by_path[0][path].keys() - CLOCKS
        if not same(by_path[0][path][column], by_path[1][path].get(column))
    )
    return {
        "rows": len(rows[1]),
        "lost": count - len(by_path[1]),
        "doubled": len(rows[1]) - len(by_path[1]),
        "columns that differ": dict(unlike),
        "columns compared": sorted(rows[0][0].keys() - CLOCKS),
        "failed": sum(row["error_class"] is not None for row in rows[1]),
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def gather(table: Path, data: list[Path], count: int) -> Path:
    """A table of videos: those of the data, then small ones, every tenth of them broken."""
    table.mkdir()
    clips = [write_clip(table / f"clip{seed}.mp4", num_frames=FPS, seed=seed) for seed in range(4)]
    paths = [str(path) for folder in data for path in videos_in(folder)][:count]
    print(f"{len(paths)} videos of the data, {count - len(paths)} made", file=sys.stderr)
    for number in range(count - len(paths)):
        path = table / f"{number:05}.mp4"
        if number % 10:
            os.link(clips[number % len(clips)], path)
        else:
            path.write_bytes(clips[0].read_bytes()[: number % 400])
        paths.append(str(path))
    listed = table / "videos.jsonl"
    listed.write_text("".join(json.dumps({"path": path}) + "\n" for path in paths))
    return listed


def videos_in(folder: Path) -> list[Path]:
    """All that a folder names as videos or, where that is more, each file in it, whatever its name."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return max(files, find_videos(folder), key=len)


def tiny(folder: Path) -> Path:
    torch.manual_seed(0)
    origin = load_initial("scratch:timesformer-tiny", HMDB_SIMP, sampler=None, extension=None, paper_pixels=True)
    folder.mkdir()
    save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, folder)
    return folder


@contextmanager
def node(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node of a Ray cluster, with all its processes."""
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *NODE]
    process = subprocess.Popen(ray, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
    try:
        wait_for(lambda: any("raylet" in each.name() for each in children(process)), process)
        time.sleep(5)  # it makes itself known to the others
        yield process
    finally:
        kill(process)


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
        return found
    return []


def actors_of(node: subprocess.Popen[bytes]) -> int:
    """The number of actors of a job that run on a node."""
    found = 0
    for each in children(node):
        with suppress(psutil.NoSuchProcess):
            found += "MapBatches" in " ".join(each.cmdline())
    return found


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        for each in (*children(process), process):
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                each.kill()
    process.wait()


def rows_of(output: Path) -> list[Row]:
    rows: list[Row] = parquet.read_table(output / "answers").to_pylist()
    return rows


def rows_in(output: Path) -> int:
    return sum(parquet.read_metadata(part).num_rows for part in (output / "answers").glob("*.parquet"))


def wait_for(condition: Callable[[], bool], job: subprocess.Popen[bytes] | None = None) -> None:
    """
    Raises:
        TimeoutError: it does not come true.
        RuntimeError: the job that should make it true has ended.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the job does not get on")
        if job is not None and job.poll() is not None:
            raise RuntimeError(f"a job ended with {job.returncode} before it should")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description="Kills, rate and memory of batch.")
    parser.add_argument("part", choices=("kills", "rate", "memory"))
    parser.add_argument("--data", nargs="*", type=Path, default=[], metavar="FOLDER", help="of videos, to begin with")
    parser.add_argument("--count", type=int, metavar="N", help="videos (2000, 400, 10000)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.part == "kills":
            found = kills(folder, [each.absolute() for each in arguments.data], arguments.count or 2000)
        elif arguments.part == "rate":
            found = batch_rate.rate(folder, arguments.count or 400)
        else:
            found = batch_rate.memory(folder, tiny(folder / "tiny"), arguments.count or 10_000)
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
