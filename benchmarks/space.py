"""The running app: how long until the page is up and the first answer there, what an answer takes through
gradio_client, and how much memory it holds.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from gradio_client import Client, handle_file

from benchmarks import networks
from benchmarks.clips import write_clip
from benchmarks.race import Row, row

ROOT = Path(__file__).parents[1]
PATIENCE = 120.0  # seconds


@dataclass(frozen=True, kw_only=True)
class App:
    url: str
    process: psutil.Process
    page_seconds: float  # from the command to the page

    def megabytes(self) -> float:
        return resident(self.process)


def resident(process: psutil.Process) -> float:
    """MB that a process and its children hold."""
    found = 0
    try:
        for each in (process, *process.children(recursive=True)):
            found += each.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return found / 1e6


def client(app: App) -> Client:
    """One that does not read all certificates again for each file it fetches: that took longer than the answer."""
    return Client(app.url, verbose=False, ssl_verify=False)


@contextmanager
def running(model: Path | None = None, **environment: str) -> Iterator[App]:
    """`python app.py` on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", **environment}
    if model is not None:
        variables["HMDB_MODEL"] = str(model)
    began = time.perf_counter()
    command = [sys.executable, "app.py"]
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves
    try:
        url = f"http://127.0.0.1:{port}"
        while not _is_up(url):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE:
                raise RuntimeError("the app did not come up")
            time.sleep(0.02)
        yield App(url=url, process=psutil.Process(process.pid), page_seconds=time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait()


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as page:  # noqa: S310 - our own
            return bool(page.status == 200)
    except OSError:
        return False


def rows(folder: Path, rounds: int, models: Sequence[str]) -> Iterator[Row]:
    video = write_clip(folder / "app.mp4")
    for name in models:
        page, first, after, memory = [], [], [], []
        for start in range(2):
            began = time.perf_counter()
            with running(networks.folder_of(name, folder)) as app:
                page.append(app.page_seconds)
                visitor = client(app)
                visitor.predict(handle_file(video), api_name="/predict")
                first.append(time.perf_counter() - began)
                for _ in range(rounds if start else 0):
                    asked = time.perf_counter()
                    visitor.predict(handle_file(video), api_name="/predict")
                    after.append((time.perf_counter() - asked) * 1e3)
                memory.append(app.megabytes())
        yield row("app", f"from the command to the page, {name}", "hmdb", page, "s")
        yield row("app", f"from the command to the first answer, {name}", "hmdb", first, "s")
        yield row("app", f"an answer through gradio_client, {name}", "hmdb", after)
        yield row("app", f"resident after that, {name}", "hmdb", memory, "MB")
