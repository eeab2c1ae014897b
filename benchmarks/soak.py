"""A long life: `python -m benchmarks.soak [--requests 3000]` asks the running page again and again.

Uploads and examples, answers, maps, timelines and comparisons take turns; every twenty requests a new visitor comes.
What grows with the requests is a leak; what a page needs once it has after the first 200.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil
from gradio_client import Client, handle_file

from benchmarks.clips import write_clip
from benchmarks.space import ROOT, App, client, running

EVERY = 100  # requests between two lines
WARM = 200  # requests after which nothing may grow
ANSWERS_OF_A_VISITOR = 20
REQUESTS = ("/predict", "/explain", "/predict", "/check", "/predict", "/timeline", "/predict", "/compare")


def open_files(process: psutil.Process) -> int:
    """Of a process and its children."""
    return sum(each.num_fds() for each in (process, *process.children(recursive=True)))


def soak(app: App, videos: list[Path], requests: int) -> list[tuple[int, float, int]]:
    """(requests so far, MB, open files), each `EVERY` requests."""
    found = []
    visitor: Client | None = None
    for number in range(requests):
        if visitor is None or number % ANSWERS_OF_A_VISITOR == 0:
            visitor = client(app)
        visitor.predict(handle_file(str(videos[number % len(videos)])), api_name=REQUESTS[number % len(REQUESTS)])
        if (number + 1) % EVERY == 0:
            found.append((number + 1, app.megabytes(), open_files(app.process)))
            print("| {} | {:.0f} | {} |".format(*found[-1]), flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description="What a page holds after many requests."
    )
    parser.add_argument("--requests", type=int, default=3000, help="(%(default)s)")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, running() as app:
        tempfile.tempdir = folder  # gradio_client leaves an empty folder there for each file that it fetches
        small = write_clip(Path(folder) / "clip.mp4", num_frames=60, size=(320, 240))
        print("| requests | MB | open files |\n|---|---|---|")
        found = soak(app, [small, *sorted((ROOT / "examples").glob("*.mp4"))], arguments.requests)
    warm = next((each for each in found if each[0] >= WARM), None)
    if warm is not None:
        growth = found[-1][1] / warm[1] - 1
        print(f"{growth:+.1%} MB since request {warm[0]}; {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
