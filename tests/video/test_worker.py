import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
import pytest

from hmdb.errors import VideoError
from hmdb.video import open_video, prepare
from hmdb.video.client import ROOT, Answer, Pool, TimedOutError, pool
from hmdb.video.limits import Limits
from hmdb.video.wire import DECORD, PYAV, Facts, WireError
from tests.videos import numbers, write_video

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4")


@pytest.fixture(autouse=True)
def _fresh_workers() -> Iterator[None]:
    pool().close()
    yield
    pool().close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3] if Path("/proc").exists() else True


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def only_pid() -> int:
    (worker,) = pool().workers()
    return worker.pid


def test_one_worker_serves_many_requests(clip: Path) -> None:
    pids = set()
    for _ in range(3):
        open_video(clip).frames_at([1])
        pids.add(only_pid())
    assert len(pids) == 1


def test_a_worker_is_there_before_the_first_video(clip: Path) -> None:
    prepare()
    pid = only_pid()
    prepare()
    open_video(clip)
    assert only_pid() == pid


def test_a_worker_is_recycled(clip: Path) -> None:
    limits, pids = Limits(requests=3), []
    for _ in range(3):
        video = open_video(clip, limits=limits)
        pids.append([worker.pid for worker in pool().workers()])
        assert numbers(video.frames_at([5]).pixels) == [5]
    assert pids[0] == pids[1][:1] or pids[1] == []
    assert not alive(pids[0][0])


def test_a_worker_that_hangs_is_killed_and_the_other_decoder_asked(clip: Path) -> None:
    limits = Limits(seconds=1.5)
    video = open_video(clip, limits=limits)
    stopped = only_pid()
    os.kill(stopped, signal.SIGSTOP)  # as good as an endless loop
    start = time.monotonic()
    assert numbers(video.frames_at([0, 29]).pixels) == [0, 29]
    assert 1.5 <= time.monotonic() - start < 3 + 1.5
    assert video.decoder == "PyAV"
    assert not alive(stopped)


def test_a_worker_that_dies_over_a_file_is_replaced(clip: Path) -> None:
    video = open_video(clip)
    doomed = only_pid()
    os.kill(doomed, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (doomed, signal.SIGKILL))
    killer.start()
    assert numbers(video.frames_at([3]).pixels) == [3]
    killer.join()
    assert only_pid() != doomed


def test_a_worker_that_died_meanwhile_is_replaced(clip: Path) -> None:
    video = open_video(clip)
    os.kill(only_pid(), signal.SIGKILL)
    assert wait_until(lambda: not pool().workers()[0].alive)
    assert numbers(video.frames_at([3]).pixels) == [3]
    assert video.decoder == "decord"


def test_what_takes_too_long_is_refused_and_no_worker_left(clip: Path) -> None:
    with pytest.raises(VideoError, match=r"^clip\.mp4 takes longer than 0\.001 seconds to decode\. Try a shorter"):
        open_video(clip, limits=Limits(seconds=0.001))
    assert pool().workers() == []


@pytest.mark.parametrize(("at_work", "asked"), [(PYAV, [True]), (DECORD, [True, False])])
def test_who_was_too_slow_is_not_asked_again(
    clip: Path, monkeypatch: pytest.MonkeyPatch, at_work: str, asked: list[bool]
) -> None:
    requests = []

    def never(request: Mapping[str, object], file: object, limits: Limits) -> NoReturn:
        requests.append(request["decord"])
        raise TimedOutError("no answer", at_work)

    monkeypatch.setattr(pool(), "ask", never)
    with pytest.raises(VideoError, match="takes longer than 15 seconds"):
        open_video(clip)
    assert requests == asked


def test_a_file_that_takes_too_long_to_look_at_is_not_looked_at_twice(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip.write_bytes(clip.read_bytes() + b"\0\0\0\x08free" * 3_000_000)
    asked, ask = [], pool().ask

    def counted(request: Mapping[str, object], file: BinaryIO, limits: Limits) -> Answer:
        asked.append(request["decord"])
        return ask(request, file, limits)

    monkeypatch.setattr(pool(), "ask", counted)
    with pytest.raises(VideoError, match="takes longer than 1 seconds"):
        open_video(clip, limits=Limits(seconds=1.0))
    assert asked == [True]


def test_a_worker_says_who_is_at_work(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits, said = Limits(seconds=1.0), []
    video = open_video(write_video(clip.with_name("clip.ts")), limits=limits)
    (worker,) = pool().workers()
    receive = worker._answer

    def answer(num_wanted: int, tell: Callable[[str], object]) -> Answer:
        def hear(decoder: str) -> None:
            said.append(decoder)
            tell(decoder)

        return receive(num_wanted, hear)

    monkeypatch.setattr(worker, "_answer", answer)
    video.frames_at([3])
    assert said == [PYAV]


def test_what_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "huge.gif", codec="gif", pixel_format="rgb8", size=(8000, 4000), num_frames=2)
    with pytest.raises(VideoError, match=r"^huge\.gif (needs too much memory|cannot be (decoded|read))"):
        open_video(path, limits=Limits(memory_mb=400, seconds=20))


def test_threads_share_a_few_workers(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", num_frames=n) for n in range(20, 28)]

    def read(path: Path) -> bool:
        video = open_video(path)
        indices = [0, video.num_frames - 1]
        return video.num_frames == int(path.stem) and numbers(video.frames_at(indices).pixels) == indices

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, paths * 4))
    assert len(pool().workers()) <= Limits().workers


def _in_child(path: Path, pipe: "multiprocessing.connection.Connection", go_on: "threading.Event") -> None:
    pixels = open_video(path).frames_at([7]).pixels
    pipe.send((numbers(pixels), only_pid()))
    go_on.wait(20)


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
    child.join(20)
    assert child.exitcode == 0
    assert wait_until(lambda: not alive(theirs))
    assert numbers(open_video(clip).frames_at([4]).pixels) == [4]
    assert only_pid() == mine


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=["killed", "terminated", "by itself"])
def test_a_worker_ends_with_its_parent(clip: Path, how: signal.Signals | None) -> None:
    code = (
        "import sys, time; from hmdb.video import open_video; from hmdb.video.client import pool;"
        "open_video(sys.argv[1]); print(pool().workers()[0].pid, flush=True);"
        f"time.sleep({0 if how is None else 60})"
    )
    command = [sys.executable, "-c", code, str(clip)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if how is not None:
            parent.send_signal(how)
    assert wait_until(lambda: not alive(pid))


@linux
def test_a_worker_has_no_secrets_and_no_torch(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    open_video(clip)
    process = Path(f"/proc/{only_pid()}")
    assert b"hf_secret" not in process.joinpath("environ").read_bytes()
    assert "torch" not in process.joinpath("maps").read_text()
    limits = process.joinpath("limits").read_text()
    assert str(Limits().memory_mb * 2**20) in limits


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_frames": 0},
        {"num_frames": 10**9},
        {"width": 10**6, "height": 10**6},
        {"width": -1},
        {"fps": float("nan")},
        {"fps": "25"},
        {"decoder": "<b>"},
        {"damaged": "yes"},
        {"codec": "<script>"},
        {"profile": "High" * 20},
        {"pixel_format": None},
        {"more": 1},
    ],
    ids=str,
)
def test_what_a_worker_says_is_checked(wrong: dict[str, object]) -> None:
    facts = {
        "num_frames": 30,
        "fps": 25.0,
        "width": 160,
        "height": 120,
        "decoder": "PyAV",
        "damaged": False,
        "announced": 0,
        "codec": "h264",
        "profile": "High 4:4:4 Predictive",
        "pixel_format": "yuv444p",
    }
    assert Facts.checked(facts, Limits()).num_frames == 30
    with pytest.raises(WireError):
        Facts.checked(facts | wrong, Limits())


def test_pools_wait_for_a_free_worker(clip: Path) -> None:
    here, limits = Pool(), Limits(workers=1)
    request = {"identity": [], "container": {"demuxer": "mov", "decord": True, "seekable": True}, "decord": True}
    with clip.open("rb") as file, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: here.ask({**request, "indices": []}, file, limits), range(8)))
    assert len(here.workers()) == 1
    here.close()
    assert {answer.facts.num_frames for answer in answers if answer.facts} == {30}
    assert np.all([answer.pixels is None for answer in answers])


def test_a_missing_decoder_is_named_and_no_video_is_blamed(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "packages" / "av"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('No module named av')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with pytest.raises(VideoError) as caught:
        open_video(clip)
    assert str(caught.value) == (
        "No video can be read here, as PyAV cannot be loaded: No module named av. `pip install av` brings it."
    )
    assert not pool().workers()
