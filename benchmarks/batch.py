"""What kills do to `python -m hmdb batch`, how fast it is and what it holds:
`python -m benchmarks.batch kills --data FOLDER... [--count 2000]`, `python -m benchmarks.batch rate`

`kills` starts two Ray nodes on this machine, kills one with SIGKILL in the middle of a job, then the driver, starts
the job again, and compares what is there with a job that nobody disturbed. A tiny network with random weights
answers, as it is the rows that are counted.
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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from pyarrow import parquet

from benchmarks.clips import FPS, write_clip
from benchmarks.space import resident
from finetune.labels import HMDB_SIMP
from finetune.networks.start import start
from finetune.training.checkpoint import save_checkpoint
from hmdb.recognizer import Recognizer
from hmdb.video.find import find_videos

Row = dict[str, Any]
CLOSE = 1e-5  # between probabilities: the order of the clips of a batch moves them by less
NODE = ("--num-cpus=1", "--object-store-memory=500000000", "--disable-usage-stats", "--block")


def kills(folder: Path, data: list[Path], count: int) -> Row:
    """One node and the driver are killed; the answers are those of a job that nobody disturbed."""
    videos = gather(folder / "videos", data, count)
    model = tiny(folder / "tiny")
    options = ["--column", "path", "--model", str(model), "--device", "cpu", "--part-rows", "50"]
    command = [sys.executable, "-m", "hmdb", "batch", str(videos), *options]
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    found: Row = {"videos": count}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # of this cluster alone
    port = free_port()
    with node("--head", f"--port={port}", "--include-dashboard=false"):
        address = f"127.0.0.1:{port}"
        with node(f"--address={address}") as second:
            began = time.monotonic()
            run(command, undisturbed, address)
            found["undisturbed, s"] = round(time.monotonic() - began)
            driver = begun(command, disturbed, address)
            wait_for(lambda: rows_in(disturbed) >= count // 4)
            found["node killed at row"] = rows_in(disturbed)
            kill(second)
        before = rows_in(disturbed)
        wait_for(lambda: rows_in(disturbed) >= max(before + 100, count // 2))
        driver.kill()
        driver.wait()
        found["driver killed at row"] = rows_in(disturbed)
        found["driver's exit"] = driver.returncode
        run(command, disturbed, address)
    return found | compare(undisturbed, disturbed, count)


def begun(command: list[str], output: Path, address: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*command, "--output", str(output), "--address", address])  # noqa: S603 - ourselves


def run(command: list[str], output: Path, address: str) -> None:
    begun(command, output, address).wait()


def compare(expected: Path, found: Path, count: int) -> Row:
    rows = [parquet.read_table(folder / "answers").to_pylist() for folder in (expected, found)]
    by_path = [{row["path"]: row for row in some} for some in rows]
    times = Counter(row["path"] for row in rows[1])
    both = by_path[0].keys() & by_path[1].keys()
    return {
        "rows": len(rows[1]),
        "lost": count - len(by_path[1]),
        "doubled": sum(number > 1 for number in times.values()),
        "different": sum(not same(by_path[0][path], by_path[1][path]) for path in both),
        "failed": sum(row["error_class"] is not None for row in rows[1]),
    }


def same(one: Row, other: Row) -> bool:
    if any(one[key] != other[key] for key in ("error_class", "error", "num_frames", "decoder")):
        return False
    if one["top"] is None or other["top"] is None:
        return bool(one["top"] is other["top"])
    pairs = zip(one["top"], other["top"], strict=True)
    return all(math.isclose(a["probability"], b["probability"], abs_tol=CLOSE) for a, b in pairs)


def gather(table: Path, data: list[Path], count: int) -> Path:
    """A table of videos: those of the data, then small ones, every tenth of them broken."""
    table.mkdir()
    clips = [write_clip(table / f"clip{seed}.mp4", num_frames=FPS, seed=seed) for seed in range(4)]
    paths = [str(path) for each in data for path in (each.iterdir() if flat(each) else find_videos(each))][:count]
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


def flat(folder: Path) -> bool:
    """Whether it is a folder of files of all kinds, each to be tried."""
    return not any(path.is_dir() for path in folder.iterdir())


def tiny(folder: Path) -> Path:
    torch.manual_seed(0)
    origin = start("scratch:timesformer-tiny", HMDB_SIMP, sampler=None, extension=None, paper_pixels=True)
    folder.mkdir()
    save_checkpoint(origin.network, origin.clip_spec, origin.pixel_spec, folder)
    return folder


@contextmanager
def node(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node of a Ray cluster, with all its processes."""
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, *NODE]
    process = subprocess.Popen(ray, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
    try:
        time.sleep(20)
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        for each in (*psutil.Process(process.pid).children(recursive=True), process):
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
    process.wait()


def rate(folder: Path, count: int) -> Row:
    """Videos a second through the engine, beside those of the plain command's loop, in turn; start apart."""
    clips = [write_clip(folder / f"clip{seed}.mp4", num_frames=3 * FPS, seed=seed) for seed in range(8)]
    many = folder / "many"
    many.mkdir()
    for number in range(count):
        os.link(clips[number % len(clips)], many / f"{number:05}.mp4")
    videos = find_videos(many)
    recognizer = Recognizer.from_pretrained(device="cpu")
    recognizer(videos[0])
    plain, engine = [], []
    found: Row = {"videos": count}
    for turn in range(2):
        began = time.monotonic()
        for video in videos:
            recognizer(video)
        plain.append(count / (time.monotonic() - began))
        output = folder / f"out{turn}"
        command = [sys.executable, "-m", "hmdb", "batch", str(many), "--output", str(output), "--device", "cpu"]
        process = subprocess.Popen([*command, "--part-rows", str(count // 10)], stdout=subprocess.DEVNULL)  # noqa: S603
        written: list[tuple[float, int]] = []
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, resident(psutil.Process(process.pid)))
            if (rows := rows_in(output)) and (not written or rows > written[-1][1]):
                written.append((time.monotonic(), rows))
            time.sleep(0.2)
        (first, before), (last, after) = written[0], written[-1]
        engine.append((after - before) / (last - first))
        found["memory, MB"] = round(peak)
    rows = parquet.read_table(folder / "out0" / "answers")
    return found | {
        "plain, videos a second": [round(each, 2) for each in plain],
        "batch, videos a second": [round(each, 2) for each in engine],
        "decode, s a video": round(sum(rows["decode_seconds"].to_pylist()) / count, 4),
        "answer, s a video": round(sum(rows["answer_seconds"].to_pylist()) / count, 4),
    }


def rows_in(output: Path) -> int:
    return sum(parquet.read_metadata(part).num_rows for part in (output / "answers").glob("*.parquet"))


def wait_for(condition: Callable[[], bool], seconds: float = 1800) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the job does not get on")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description="Kills, rate and memory of batch.")
    parser.add_argument("part", choices=("kills", "rate"))
    parser.add_argument("--data", nargs="*", type=Path, default=[], metavar="FOLDER", help="of videos, to begin with")
    parser.add_argument("--count", type=int, default=2000, help="videos (%(default)s)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        if arguments.part == "kills":
            found = kills(Path(folder), [each.absolute() for each in arguments.data], arguments.count)
        else:
            found = rate(Path(folder), arguments.count)
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
