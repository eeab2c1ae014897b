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
from typing import Any, NoReturn, cast

import av
import numpy as np
import pytest

from hmdb.errors import VideoError
from hmdb.video import open_video, prepare
from hmdb.video import worker_pool as client
from hmdb.video.limits import Limits
from hmdb.video.protocol import DECORD, PYAV, ProtocolError, StreamInfo
from hmdb.video.worker.scan import _first_frame, iter_packets
from hmdb.video.worker_pool import (
    ROOT,
    START_SECONDS,
    Pool,
    UnansweredError,
    WorkerCrashedError,
    WorkerReply,
    WorkerTimeoutError,
    default_pool,
)
from tests.support.videos import numbers, write_video

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4")


@pytest.fixture(autouse=True)
def _fresh_workers() -> Iterator[None]:
    default_pool().close()
    yield
    default_pool().close()


@pytest.fixture
def sabotage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[[], int]]:
    """Has every worker run some code before it starts, in which `nth` counts the workers from 1; returns what tells
    how many have started.
    """

    def arm(code: str) -> Callable[[], int]:
        folder = tmp_path / "inside"
        folder.mkdir()
        started = folder / "started"
        count = f"with open({str(started)!r}, 'ab') as file:\n    file.write(b'.')\n    nth = file.tell()\n"
        folder.joinpath("sitecustomize.py").write_text(count + code)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        return lambda: len(started.read_bytes())

    return arm


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a request take too long as soon as a decoder has begun ("": as soon as it is put), and at no other time."""

    def arm(decoder: str) -> None:
        class Slow(client._Deadline):
            def _started(self, seconds: float) -> threading.Timer:
                request = seconds != START_SECONDS
                return super()._started(0 if request and self.trying == decoder else 3600)

        monkeypatch.setattr(client, "_Deadline", Slow)

    return arm


HANGING = {
    "": "import hmdb.video.worker.scan as s, threading; s.scan = lambda *_: threading.Event().wait()",
    DECORD: "import hmdb.video.worker.decoders as d, threading; "
    "d.DecordReader.__init__ = lambda *_: threading.Event().wait()",
}
HANGING[PYAV] = HANGING[""]  # which looks at every file first


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3] if Path("/proc").exists() else True


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def only_pid() -> int:
    (worker,) = default_pool().workers()
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
    for _ in range(7):
        open_video(clip, limits=limits)
        pids.append([worker.pid for worker in default_pool().workers()])
    first, second, third = pids[0], pids[3], pids[6]
    assert pids == [first, first, [], second, second, [], third]
    assert len({*first, *second, *third}) == 3
    assert not alive(*first)
    assert not alive(*second)


def test_a_worker_that_hangs_is_killed_and_the_other_decoder_asked(
    clip: Path, sabotage: Callable[[str], Callable[[], int]], slow: Callable[[str], None]
) -> None:
    num_started = sabotage(HANGING[DECORD])
    prepare()
    hanging = only_pid()
    slow(DECORD)
    video = open_video(clip)
    assert numbers(video.frames_at([0, 29]).pixels) == [0, 29]
    assert video.decoder == "PyAV"
    assert num_started() == 2
    assert not alive(hanging)


@pytest.mark.parametrize(("where", "decoder"), [("decoders.DecordReader.__init__", PYAV), ("scan.scan", DECORD)])
def test_a_worker_that_dies_over_a_file_is_replaced(
    clip: Path, sabotage: Callable[[str], Callable[[], int]], where: str, decoder: str
) -> None:
    num_started = sabotage(
        f"import os, hmdb.video.worker.decoders as decoders, hmdb.video.worker.scan as scan\n"
        f"if nth == 1:\n    {where} = lambda *_: os.abort()"
    )
    video = open_video(clip)
    assert numbers(video.frames_at([3]).pixels) == [3]
    assert video.decoder == decoder
    assert num_started() == 2


def test_what_ends_two_workers_is_refused(clip: Path, sabotage: Callable[[str], Callable[[], int]]) -> None:
    num_started = sabotage("import os, hmdb.video.worker.scan as scan\nscan.scan = lambda *_: os.abort()")
    with pytest.raises(VideoError, match=r"^clip\.mp4 cannot be decoded: it is damaged, or needs too much memory\."):
        open_video(clip)
    assert num_started() == 2


def test_a_worker_that_does_not_start_is_blamed_on_no_video(
    clip: Path, sabotage: Callable[[str], Callable[[], int]]
) -> None:
    sabotage("import os\nos._exit(3)")
    with pytest.raises(VideoError, match=r"^No video can be read here, as no decoding process starts: .*status 3\)\. "):
        open_video(clip)
    assert default_pool().workers() == []


LITTLE_MEMORY = """
import os, resource, hmdb.video.worker.sandbox as sandbox
def confine(memory_mb, confine=sandbox.confine):
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + @ROOM * 2**20,) * 2)
    return confine(memory_mb=memory_mb)
if nth in @WHICH:
    sandbox.confine = confine
"""


@linux
@pytest.mark.parametrize("error", ['MemoryError("no room")', 'av.error.MemoryError(12, "Cannot allocate memory")'])
@pytest.mark.parametrize("where", ["decoders.PyAVReader.frames", "scan.select_video_stream"])
def test_a_worker_without_memory_is_replaced_and_no_damage_told(
    tmp_path: Path, sabotage: Callable[[str], Callable[[], int]], where: str, error: str
) -> None:
    num_started = sabotage(
        "import av, hmdb.video.worker.decoders as decoders, hmdb.video.worker.scan as scan\n"
        f"def fail(*_):\n    raise {error}\n"
        f"if nth == 1:\n    {where} = fail"
    )
    video = open_video(write_video(tmp_path / "phone.mp4", pixel_format="yuv420p10le"))
    assert numbers(video.frames_at([0, 5, 11]).pixels) == [0, 5, 11]
    assert (video.num_frames, video.note) == (30, None)
    assert num_started() == 2


@linux
def test_many_videos_need_no_more_memory_than_one(tmp_path: Path, sabotage: Callable[[str], Callable[[], int]]) -> None:
    path = write_video(tmp_path / "phone.mp4", size=(1280, 720), num_frames=12, pixel_format="yuv420p10le")
    num_started = sabotage(LITTLE_MEMORY.replace("@ROOM", "300").replace("@WHICH", "[1]"))
    for _ in range(24):
        os.utime(path)  # another file to a worker
        assert numbers(open_video(path).frames_at([0, 11]).pixels) == [0, 11]
    assert num_started() == 1


@pytest.mark.parametrize(
    "error",
    [
        'MemoryError("no room")',
        'av.error.MemoryError(12, "Cannot allocate memory")',
        'av.error.BlockingIOError(11, "Resource temporarily unavailable")',  # no room for the stack of a thread
    ],
)
@pytest.mark.parametrize("where", ["decoders.PyAVReader.frames", "scan.select_video_stream"])
def test_a_lack_of_memory_is_called_that(
    tmp_path: Path, sabotage: Callable[[str], Callable[[], int]], where: str, error: str
) -> None:
    num_started = sabotage(
        "import av, hmdb.video.worker.decoders as decoders, hmdb.video.worker.scan as scan\n"
        f"def fail(*_):\n    raise {error}\n"
        f"{where} = fail"
    )
    path = write_video(tmp_path / "phone.mp4", pixel_format="yuv420p10le")
    with pytest.raises(
        VideoError,
        match=r"^phone\.mp4 needs more memory to decode than the 3072 MiB that it may take\. Try a smaller",
    ):
        open_video(path).frames_at([3])
    assert num_started() == 2
    assert default_pool().workers() == []


@pytest.mark.parametrize("kind", [MemoryError, av.error.MemoryError, av.error.BlockingIOError])
def test_a_lack_of_memory_is_not_counted_as_damage(kind: type[OSError]) -> None:
    class Failing:
        def decode(self) -> NoReturn:
            raise kind(12, "Cannot allocate memory")

        def demux(self, *tracks: object) -> NoReturn:
            raise kind(12, "Cannot allocate memory")

    failing, damaged = cast("Any", Failing()), []
    with pytest.raises(kind):
        _first_frame(failing)
    with pytest.raises(kind):
        list(iter_packets(failing, damaged=lambda: damaged.append(1)))
    assert not damaged


@pytest.mark.parametrize("words", ["std::bad_alloc", "[Errno 12] Cannot allocate memory"])
def test_a_lack_of_memory_in_decord_is_no_damage(
    clip: Path, sabotage: Callable[[str], Callable[[], int]], words: str
) -> None:
    num_started = sabotage(
        "import hmdb.video.worker.decoders as decoders, decord\n"
        f"def fail(*_, **__):\n    raise decord.DECORDError({words!r})\n"
        "decord.VideoReader = fail"
    )
    video = open_video(clip)
    assert numbers(video.frames_at([3]).pixels) == [3]
    assert (video.decoder, video.note) == (PYAV, None)
    assert num_started() == 2


def test_a_worker_that_died_meanwhile_is_replaced(clip: Path) -> None:
    video = open_video(clip)
    os.kill(only_pid(), signal.SIGKILL)
    assert wait_until(lambda: not default_pool().workers()[0].alive)
    assert numbers(video.frames_at([3]).pixels) == [3]
    assert video.decoder == "decord"


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (WorkerTimeoutError("no answer", trying="", seconds_left=9), [(True, 15, False)]),
        (WorkerTimeoutError("no answer", trying=PYAV, seconds_left=9), [(True, 15, False)]),
        (WorkerTimeoutError("no answer", trying=DECORD, seconds_left=9), [(True, 15, False), (False, 9, True)]),
        (WorkerCrashedError("no answer", trying="", seconds_left=9), [(True, 15, False), (True, 9, True)]),
        (WorkerCrashedError("no answer", trying=PYAV, seconds_left=9), [(True, 15, False), (True, 9, True)]),
        (WorkerCrashedError("no answer", trying=DECORD, seconds_left=9), [(True, 15, False), (False, 9, True)]),
    ],
    ids=repr,
)
def test_both_tries_share_the_time_of_one(
    clip: Path, monkeypatch: pytest.MonkeyPatch, error: UnansweredError, asked: list[tuple[bool, float, bool]]
) -> None:
    requests = []

    def never(
        request: Mapping[str, object], file: object, limits: Limits, *, seconds: float, fresh: bool = False
    ) -> NoReturn:
        requests.append((request["decord"], seconds, fresh))
        raise error

    monkeypatch.setattr(default_pool(), "ask", never)
    with pytest.raises(VideoError, match=r"takes longer than 15 seconds|cannot be decoded"):
        open_video(clip)
    assert requests == asked


@pytest.mark.parametrize("at_work", ["", PYAV])
def test_a_file_that_takes_too_long_to_look_at_is_not_looked_at_twice(
    clip: Path, sabotage: Callable[[str], Callable[[], int]], slow: Callable[[str], None], at_work: str
) -> None:
    num_started = sabotage(HANGING[at_work])
    slow(at_work)
    with pytest.raises(VideoError, match=r"^clip\.mp4 takes longer than 15 seconds to decode\. Try a shorter"):
        open_video(clip)
    assert num_started() == 1
    assert default_pool().workers() == []


class Clock:
    """Stands in for `time` and for `threading.Timer`; goes on by hand alone."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def started(self, seconds: float) -> threading.Timer:
        self.timers.append(seconds)
        return threading.Timer(seconds, lambda: None)  # never started


def test_decord_may_take_half_of_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(client, "time", clock)
    monkeypatch.setattr(client._Deadline, "_started", lambda _, seconds: clock.started(seconds))
    deadline = client._Deadline(10, lambda: None)
    for seconds, decoder in ((1, PYAV), (1, DECORD), (2, PYAV), (8, DECORD)):
        clock.now += seconds
        deadline.hear(decoder)
    assert clock.timers == [10, 9, 4, 6, 0]
    assert deadline.seconds_left == 0


def test_the_start_of_a_worker_takes_none_of_the_time_of_a_file(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    class Noted(client._Deadline):
        def __init__(self, seconds: float, expire: Callable[[], object]) -> None:
            given.append(seconds)
            super().__init__(seconds, expire)

    monkeypatch.setattr(client, "_Deadline", Noted)
    open_video(clip).frames_at([3])
    assert given == [START_SECONDS, 15, 15]


def test_a_worker_says_who_is_at_work(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    video = open_video(write_video(clip.with_name("clip.ts")))
    (worker,) = default_pool().workers()
    receive = worker._answer

    def answer(num_wanted: int, tell: Callable[[str], object]) -> WorkerReply:
        def hear(decoder: str) -> None:
            said.append(decoder)
            tell(decoder)

        return receive(num_wanted, hear)

    monkeypatch.setattr(worker, "_answer", answer)
    video.frames_at([3])
    assert said == [PYAV]


def test_what_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "huge.gif", codec="gif", pixel_format="rgb8", size=(8000, 4000), num_frames=2)
    with pytest.raises(VideoError, match=r"^huge\.gif needs more memory to decode than the 400 MiB"):
        open_video(path, limits=Limits(memory_mb=400))


def test_threads_share_a_few_workers(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{n}.mp4", num_frames=n) for n in range(20, 28)]

    def read(path: Path) -> bool:
        video = open_video(path)
        indices = [0, video.num_frames - 1]
        return video.num_frames == int(path.stem) and numbers(video.frames_at(indices).pixels) == indices

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, paths * 4))
    assert len(default_pool().workers()) <= Limits().workers


def _in_child(path: Path, pipe: "multiprocessing.connection.Connection", go_on: "threading.Event") -> None:
    pixels = open_video(path).frames_at([7]).pixels
    pipe.send((numbers(pixels), only_pid()))
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
    assert wait_until(lambda: not alive(theirs))
    assert numbers(open_video(clip).frames_at([4]).pixels) == [4]
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
    assert StreamInfo.checked(facts, Limits()).num_frames == 30
    with pytest.raises(ProtocolError):
        StreamInfo.checked(facts | wrong, Limits())


def test_pools_wait_for_a_free_worker(clip: Path) -> None:
    here, limits = Pool(), Limits(workers=1)
    request = {"identity": [], "container": {"demuxer": "mov", "decord": True, "seekable": True}, "decord": True}
    request["indices"] = []
    with clip.open("rb") as file, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: here.ask(request, file, limits, seconds=60), range(8)))
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
    assert not default_pool().workers()
