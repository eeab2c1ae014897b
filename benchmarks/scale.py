"""Cost against the length of a video, the number of files and the number of visitors at once:
`python -m benchmarks.scale [length] [files] [visitors] [--output docs]`

Each is measured, plotted and checked: at most linear, no visitor lost, memory flat. The bundled checkpoint answers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from gradio_client import Client, handle_file

from benchmarks.clips import FPS, write_clip, write_repeated
from benchmarks.queueing import burst
from benchmarks.space import App, client, resident, running

LENGTHS = (1, 10, 60, 600, 3600)  # seconds
FILES = (1, 10, 100, 1000)
VISITORS = (1, 2, 4, 8, 16, 32, 64)

Figures = list[dict[str, Any]]


def length(folder: Path) -> Figures:
    """One answer and one timeline, in this process, of videos of 320x240."""
    from hmdb.recognizer import Recognizer

    recognizer = Recognizer.from_pretrained()
    second = write_clip(folder / "second.mp4", num_frames=FPS)
    videos = {seconds: write_repeated(folder / f"{seconds}.mp4", second, seconds) for seconds in LENGTHS}
    found: Figures = []
    for seconds, video in videos.items():
        recognizer(video)
        answers = [_seconds(lambda video=video: recognizer(video)) for _ in range(3)]  # type: ignore[misc]
        timeline = _seconds(lambda video=video: recognizer.timeline(video))  # type: ignore[misc]
        memory = resident(psutil.Process())
        found.append({"length": seconds, "answer": min(answers), "timeline": timeline, "memory": memory})
        print(found[-1], flush=True)
    return found


def files(folder: Path) -> Figures:
    """`python -m hmdb` on many files: from the command to the table."""
    clip = write_clip(folder / "clip.mp4", num_frames=3 * FPS)
    found: Figures = []
    for count in FILES:
        many = folder / str(count)
        many.mkdir()
        for number in range(count):
            os.link(clip, many / f"{number:04}.mp4")
        began = time.perf_counter()
        command = [sys.executable, "-m", "hmdb", str(many), "--csv", str(folder / "table.csv")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - ourselves
        with _watched(psutil.Process(process.pid)) as peak:
            process.wait()
        rows = (folder / "table.csv").read_text().count("\n") - 1
        found.append({"files": count, "seconds": time.perf_counter() - began, "memory": peak(), "rows": rows})
        print(found[-1], flush=True)
    return found


def visitors(folder: Path) -> Figures:
    """Many ask the app at the same moment."""
    videos = [write_clip(folder / f"{seed}.mp4", num_frames=FPS, seed=seed) for seed in range(max(VISITORS))]
    found: Figures = []
    with running(HMDB_MAX_PER_ADDRESS=str(VISITORS[-1])) as app:  # all come from one address
        _ask(app, videos[:1])
        alone = statistics.median(_ask(app, videos[:1])["last"] for _ in range(5))
        memory = app.megabytes()
        for count in VISITORS:
            asked = _ask(app, videos[:count])
            asked |= {"predicted last": burst(visitors=asked["answered"], service=alone)[-1]}
            asked |= {"memory before": memory, "memory after": app.megabytes()}
            found.append(asked)
            print(found[-1], flush=True)
    return found


def _ask(app: App, videos: Sequence[Path]) -> dict[str, Any]:
    clients = [client(app) for _ in videos]
    outcomes: list[str] = []
    taken: list[float] = []
    together = threading.Barrier(len(videos))

    def visit(visitor: Client, video: Path) -> None:
        together.wait()
        began = time.perf_counter()
        try:
            visitor.predict(handle_file(video), api_name="/predict")
            outcomes.append("answered")
            taken.append(time.perf_counter() - began)
        except Exception as error:  # whatever the client makes of it
            outcomes.append("told to come back" if "already in progress" in str(error) else f"lost: {error}")

    threads = [threading.Thread(target=visit, args=pair) for pair in zip(clients, videos, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter(outcomes)
    return {
        "visitors": len(videos),
        "answered": counts.pop("answered", 0),
        "told": counts.pop("told to come back", 0),
        "lost": sorted(counts.elements()),
        "median": statistics.median(taken),
        "last": max(taken),
    }


@contextmanager
def _watched(process: psutil.Process) -> Iterator[Callable[[], float]]:
    """The largest resident size of a process and its children, in MB."""
    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            most[0] = max(most[0], resident(process))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        done.set()
        thread.join()


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def plot(name: str, found: Figures, target: Path) -> None:
    """Time on the left and memory on the right, as multiples of the first point, against what was varied."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    varied = next(iter(found[0]))
    across = [each[varied] for each in found]
    times = {"length": ("answer", "timeline"), "files": ("seconds",), "visitors": ("median", "last", "predicted last")}
    for key in times[name]:
        left.plot(across, [each[key] / found[0][key] for each in found], marker="o", label=key)
    left.plot(across, [each / across[0] for each in across], color="0.8", zorder=0, label="linear")
    left.set(xscale="log", yscale="log", xlabel=varied, ylabel="time, of the first")
    left.legend(fontsize=7)
    key = "memory after" if name == "visitors" else "memory"
    right.plot(across, [each[key] / found[0][key] for each in found], marker="o")
    right.set(xscale="log", xlabel=varied, ylabel="memory, of the first", ylim=(0, None))
    figure.savefig(target, dpi=90)


PARTS = {"length": length, "files": files, "visitors": visitors}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Cost against size.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all, if none is named")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder for figures (%(default)s)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[part](Path(folder))
        (arguments.output / f"{part}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        plot(part, found, arguments.output / f"{part}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
