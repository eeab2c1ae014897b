import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hmdb.video import open_video, prepare
from hmdb.video.limits import Limits
from hmdb.video.worker_pool import Pool, default_pool
from hmdb.video.worker_process import (
    ROOT,
)
from tests.support.videos import (
    read_numbers,
    write_video,
)
from tests.support.waiting import wait_until
from tests.support.workers import alive, only_pid

pytestmark = [
    pytest.mark.usefixtures("fresh_workers"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]


def test_one_worker_serves_many_requests(clip: Path) -> None:
    pids = set()
    for _ in range(3):
        open_video(clip).frames_at([1])
        pids.add(only_pid())
    assert len(pids) == 1


def test_a_worker_can_be_started_ahead(clip: Path) -> None:
    prepare()
    pid = only_pid()
    prepare()
    open_video(clip)
    assert only_pid() == pid


def test_a_worker_is_replaced_after_some_requests(clip: Path) -> None:
    limits, pids = Limits(requests=3), []
    for _ in range(7):
        open_video(clip, limits=limits)
        pids.append([worker.pid for worker in default_pool().workers()])
    first, second, third = pids[0], pids[3], pids[6]
    assert pids == [first, first, [], second, second, [], third]
    assert len({*first, *second, *third}) == 3
    assert not alive(*first)
    assert not alive(*second)


def test_a_dead_idle_worker_is_replaced(clip: Path) -> None:
    video = open_video(clip)
    os.kill(only_pid(), signal.SIGKILL)
    wait_until(lambda: not default_pool().workers()[0].alive)
    assert read_numbers(video.frames_at([3]).pixels) == [3]
    assert video.decoder == "decord"


def test_threads_share_a_few_workers(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", num_frames=n) for n in range(20, 28)]

    def read(path: Path) -> bool:
        video = open_video(path)
        indices = [0, video.num_frames - 1]
        return video.num_frames == int(path.stem) and read_numbers(video.frames_at(indices).pixels) == indices

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, paths * 4))
    assert len(default_pool().workers()) <= Limits().workers


def test_requests_wait_for_a_free_worker(clip: Path) -> None:
    here, limits = Pool(), Limits(workers=1)
    request = {"identity": (), "container": {"demuxer": "mov", "decord": True, "seekable": True}, "decord": True}
    request["indices"] = []
    with clip.open("rb") as file, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: here.ask(request, file, limits, seconds=60), range(8)))
    assert len(here.workers()) == 1
    here.close()
    assert {answer.info.num_frames for answer in answers if answer.info} == {30}
    assert np.all([answer.pixels is None for answer in answers])


def _in_child(path: Path, pipe: "multiprocessing.connection.Connection", go_on: "threading.Event") -> None:
    pixels = open_video(path).frames_at([7]).pixels
    pipe.send((read_numbers(pixels), only_pid()))
    go_on.wait(120)


def test_a_forked_process_has_a_worker_of_its_own(clip: Path) -> None:
    open_video(clip)
    mine = only_pid()
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    go_on = context.Event()
    child = context.Process(target=_in_child, args=(clip, there, go_on))
    child.start()
    shown, theirs = here.recv()
    assert shown == [7]
    assert theirs != mine
    assert alive(theirs)
    go_on.set()
    child.join(120)
    assert child.exitcode == 0
    wait_until(lambda: not alive(theirs))
    assert read_numbers(open_video(clip).frames_at([4]).pixels) == [4]
    assert only_pid() == mine


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "by itself"])
def test_a_worker_ends_with_its_parent(clip: Path, how: signal.Signals | None) -> None:
    code = (
        "import sys, time; from hmdb.video import open_video; from hmdb.video.worker_pool import default_pool;"
        "open_video(sys.argv[1]); print(default_pool().workers()[0].pid, flush=True);"
        f"time.sleep({0 if how is None else 60})"
    )
    command = [sys.executable, "-c", code, str(clip)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if how is not None:
            parent.send_signal(how)
    wait_until(lambda: not alive(pid))


def test_no_descriptor_is_leaked(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", num_frames=n) for n in (5, 6, 7)]
    default_pool().close()
    counts = []
    for path in paths * 4:
        open_video(path).frames_at([1])
        (worker,) = default_pool().workers()
        processes = [os.getpid(), worker.pid] if os.geteuid() == 0 else [os.getpid()]  # a worker is not dumpable
        counts.append([len(os.listdir(f"/proc/{pid}/fd")) for pid in processes])
    for held in zip(*counts, strict=True):
        assert max(held) - min(held) <= 1  # the last may be on its way
