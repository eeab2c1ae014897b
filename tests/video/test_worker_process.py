import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hmdb.cancellation import cancellable
from hmdb.errors import StoppedError, VideoError
from hmdb.video import open_video, prepare, worker_process
from hmdb.video.limits import Limits
from hmdb.video.protocol import DECORD, PYAV
from hmdb.video.worker_pool import default_pool
from hmdb.video.worker_process import (
    START_SECONDS,
)
from tests.support.videos import (
    read_numbers,
    write_video,
)
from tests.support.workers import HANGING, Sabotage, alive, linux, only_pid

pytestmark = [
    pytest.mark.usefixtures("fresh_workers"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
]


def test_a_hanging_decord_is_killed_and_pyav_tried(clip: Path, sabotage: Sabotage, slow: Callable[[str], None]) -> None:
    num_started = sabotage(HANGING[DECORD])
    prepare()
    hanging = only_pid()
    slow(DECORD)
    video = open_video(clip)
    assert read_numbers(video.frames_at([0, 29]).pixels) == [0, 29]
    assert video.decoder == "PyAV"
    assert num_started() == 2
    assert not alive(hanging)


@pytest.mark.parametrize(("where", "decoder"), [("decord_reader.DecordReader.__init__", PYAV), ("scan.scan", DECORD)])
def test_a_crashed_worker_is_replaced(clip: Path, sabotage: Sabotage, where: str, decoder: str) -> None:
    num_started = sabotage(
        f"import os, hmdb.video.worker.decord_reader as decord_reader, hmdb.video.worker.scan as scan\n"
        f"if nth == 1:\n    {where} = lambda *_: os.abort()"
    )
    video = open_video(clip)
    assert read_numbers(video.frames_at([3]).pixels) == [3]
    assert video.decoder == decoder
    assert num_started() == 2


def test_a_file_that_crashes_two_workers_is_refused(clip: Path, sabotage: Sabotage) -> None:
    num_started = sabotage("import os, hmdb.video.worker.scan as scan\nscan.scan = lambda *_: os.abort()")
    with pytest.raises(VideoError, match=r"^clip\.mp4 cannot be decoded: it is damaged, or needs too much memory\."):
        open_video(clip)
    assert num_started() == 2


def test_a_worker_that_does_not_start(clip: Path, sabotage: Sabotage) -> None:
    sabotage("import os\nos._exit(3)")
    with pytest.raises(VideoError, match=r"^No video can be read here, as no decoding process starts: .*status 3\)\. "):
        open_video(clip)
    assert default_pool().workers() == []


@pytest.mark.parametrize("decoder", ["", PYAV])
def test_a_timeout_without_decord_is_final(
    clip: Path, sabotage: Sabotage, slow: Callable[[str], None], decoder: str
) -> None:
    num_started = sabotage(HANGING[decoder])
    slow(decoder)
    with pytest.raises(VideoError, match=r"^clip\.mp4 takes longer than 15 seconds to decode\. Try a shorter"):
        open_video(clip)
    assert num_started() == 1
    assert default_pool().workers() == []


def test_a_cancelled_video_ends_its_worker(clip: Path, sabotage: Sabotage) -> None:
    """A visitor who has chosen another video does not wait for this one."""
    sabotage(HANGING[PYAV])
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks > 2:
            raise StoppedError("Cancelled.")

    with cancellable(check), pytest.raises(StoppedError, match="Cancelled"):
        open_video(clip)
    assert default_pool().workers() == []


class Clock:
    """Replaces `time` and `threading.Timer`; advanced by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def start_timer(self, seconds: float) -> threading.Timer:
        self.timers.append(seconds)
        return threading.Timer(seconds, lambda: None)  # never started


def test_decord_gets_half_of_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(worker_process, "time", clock)
    monkeypatch.setattr(worker_process._Deadline, "_start_timer", lambda _, seconds: clock.start_timer(seconds))
    deadline = worker_process._Deadline(10, lambda: None)
    for seconds, decoder in ((1, PYAV), (1, DECORD), (2, PYAV), (8, DECORD)):
        clock.now += seconds
        deadline.start_decoder(decoder)
    assert clock.timers == [10, 9, 4, 6, 0]
    assert deadline.seconds_left == 0


def test_the_start_takes_none_of_a_files_time(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    class Recorded(worker_process._Deadline):
        def __init__(self, seconds: float, expire: Callable[[], object]) -> None:
            limits.append(seconds)
            super().__init__(seconds, expire)

    monkeypatch.setattr(worker_process, "_Deadline", Recorded)
    open_video(clip).frames_at([3])
    assert limits == [START_SECONDS, 15, 15]


def test_a_worker_reports_its_decoder(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []
    start_decoder = worker_process._Deadline.start_decoder

    def record(deadline: worker_process._Deadline, decoder: str) -> None:
        reported.append(decoder)
        start_decoder(deadline, decoder)

    video = open_video(write_video(clip.with_name("clip.ts")))
    monkeypatch.setattr(worker_process._Deadline, "start_decoder", record)
    video.frames_at([3])
    assert reported == [PYAV]


@linux
@pytest.mark.parametrize("error", ['MemoryError("no room")', 'av.error.MemoryError(12, "Cannot allocate memory")'])
@pytest.mark.parametrize("where", ["pyav_reader.PyAVReader.frames", "scan.select_video_stream"])
def test_a_worker_without_memory_is_replaced(tmp_path: Path, sabotage: Sabotage, where: str, error: str) -> None:
    num_started = sabotage(
        "import av, hmdb.video.worker.pyav_reader as pyav_reader, hmdb.video.worker.scan as scan\n"
        f"def fail(*_):\n    raise {error}\n"
        f"if nth == 1:\n    {where} = fail"
    )
    video = open_video(write_video(tmp_path / "phone.mp4", pixel_format="yuv420p10le"))
    assert read_numbers(video.frames_at([0, 5, 11]).pixels) == [0, 5, 11]
    assert (video.num_frames, video.note) == (30, None)
    assert num_started() == 2


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
def test_many_videos_need_no_more_memory_than_one(tmp_path: Path, sabotage: Sabotage) -> None:
    path = write_video(tmp_path / "phone.mp4", size=(1280, 720), num_frames=12, pixel_format="yuv420p10le")
    num_started = sabotage(LITTLE_MEMORY.replace("@ROOM", "300").replace("@WHICH", "[1]"))
    for _ in range(24):
        os.utime(path)  # another file to a worker
        assert read_numbers(open_video(path).frames_at([0, 11]).pixels) == [0, 11]
    assert num_started() == 1


@pytest.mark.parametrize(
    "error",
    [
        'MemoryError("no room")',
        'av.error.MemoryError(12, "Cannot allocate memory")',
        'av.error.BlockingIOError(11, "Resource temporarily unavailable")',  # no room for the stack of a thread
    ],
)
@pytest.mark.parametrize("where", ["pyav_reader.PyAVReader.frames", "scan.select_video_stream"])
def test_a_lack_of_memory_is_reported_as_such(tmp_path: Path, sabotage: Sabotage, where: str, error: str) -> None:
    num_started = sabotage(
        "import av, hmdb.video.worker.pyav_reader as pyav_reader, hmdb.video.worker.scan as scan\n"
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


@pytest.mark.parametrize("words", ["std::bad_alloc", "[Errno 12] Cannot allocate memory"])
def test_a_lack_of_memory_in_decord_is_no_damage(clip: Path, sabotage: Sabotage, words: str) -> None:
    num_started = sabotage(
        "import hmdb.video.worker.decord_reader as decord_reader, decord\n"
        f"def fail(*_, **__):\n    raise decord.DECORDError({words!r})\n"
        "decord.VideoReader = fail"
    )
    video = open_video(clip)
    assert read_numbers(video.frames_at([3]).pixels) == [3]
    assert (video.decoder, video.note) == (PYAV, None)
    assert num_started() == 2


def test_a_file_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "huge.gif", codec="gif", pixel_format="rgb8", size=(8000, 4000), num_frames=2)
    with pytest.raises(VideoError, match=r"^huge\.gif needs more memory to decode than the 400 MiB"):
        open_video(path, limits=Limits(memory_mb=400))


@linux
@pytest.mark.parametrize("memory_mb", [50, 280])  # less than Python takes, less than PyAV does
def test_a_memory_limit_below_the_libraries_is_named(clip: Path, memory_mb: int) -> None:
    with pytest.raises(
        VideoError,
        match=rf"^No video can be read here: the memory limit of {memory_mb} MiB is too small, as a decoding process "
        r"needs \d+ MiB or more\. Raise HMDB_DECODE_MEMORY_MB \(3072 by default\)\.$",
    ):
        open_video(clip, limits=Limits(memory_mb=memory_mb))
    assert default_pool().workers() == []


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into a worker, which is not dumpable")
def test_a_worker_has_no_secrets_and_no_torch(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    open_video(clip)
    process = Path(f"/proc/{only_pid()}")
    assert b"hf_secret" not in process.joinpath("environ").read_bytes()
    assert "torch" not in process.joinpath("maps").read_text()
    limits = process.joinpath("limits").read_text()
    assert str(Limits().memory_mb * 2**20) in limits
