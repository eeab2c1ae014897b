"""Decoding processes under test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hmdb.video.protocol import DECORD, PYAV
from hmdb.video.worker_pool import default_pool

Sabotage = Callable[[str], Callable[[], int]]  # code to run in each worker -> a function that counts the started ones

linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")

HANGING = {  # code that makes a decoder hang
    "": "import hmdb.video.worker.scan as s, threading; s.scan = lambda *_: threading.Event().wait()",
    DECORD: "import hmdb.video.worker.decord_reader as d, threading; "
    "d.DecordReader.__init__ = lambda *_: threading.Event().wait()",
}
HANGING[PYAV] = HANGING[""]  # which scans every file first


def alive(pid: int) -> bool:
    """Returns False for a process that has ended, even if its parent has not waited for it yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3] if Path("/proc").exists() else True


def only_pid() -> int:
    """Returns the pid of the only worker."""
    (worker,) = default_pool().workers()
    return worker.pid
