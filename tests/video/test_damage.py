import itertools
import random
from pathlib import Path
from typing import Any, NoReturn, cast

import av
import numpy as np
import pytest

from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import read_clip
from hmdb.errors import VideoError
from hmdb.video import open_video
from hmdb.video.limits import Limits
from hmdb.video.video import FrameCountChangedError
from hmdb.video.worker.demux import decode_first_frame, iter_packets
from tests.support.videos import (
    read_numbers,
    scratch,
    truncate,
    write_video,
)
from tests.support.workers import Sabotage, linux

pytest.importorskip("decord")


# Two ways in which a lack of memory, once a worker has read a file, passes for damage of the next one.
UNREADABLE = """
import hmdb.video.worker.demux as demux, hmdb.video.worker.scan as scan
files = []
def strained(file, *rest, scan=scan.scan):
    files.append(file)
    if len(files) > 1:
        raise demux.UnsupportedVideoError("unreadable")
    return scan(file, *rest)
scan.scan = strained
"""
ONE_FRAME = """
from hmdb.video.worker.pyav_reader import PyAVReader
readers = []
def decode(self, *args, decode=PyAVReader._decode, **kwargs):
    if self not in readers:
        readers.append(self)
    frames = decode(self, *args, **kwargs)
    if readers.index(self):
        yield next(frames)
        self._count_error()
    else:
        yield from frames
PyAVReader._decode = decode
"""


LITTLE_MEMORY = Limits(memory_mb=500)  # of which a worker's libraries take more than half


@linux
@pytest.mark.parametrize("strain", [UNREADABLE, ONE_FRAME], ids=["unreadable", "one frame"])
def test_damage_is_confirmed_where_memory_is_short(tmp_path: Path, sabotage: Sabotage, strain: str) -> None:
    num_started = sabotage(strain)
    paths = [write_video(tmp_path / f"{n}.mp4", num_frames=12, pixel_format="yuv420p10le") for n in range(2)]
    for path in paths:
        video = open_video(path, limits=LITTLE_MEMORY)
        assert read_numbers(video.frames_at([0, 11]).pixels) == [0, 11]
        assert (video.num_frames, video.note) == (12, None)
    assert num_started() == 2


@linux
@pytest.mark.parametrize(("limits", "num_workers"), [(LITTLE_MEMORY, 2), (Limits(), 1)], ids=["little", "plenty"])
def test_damage_is_confirmed_at_most_once(tmp_path: Path, sabotage: Sabotage, limits: Limits, num_workers: int) -> None:
    num_started = sabotage("")
    damaged = truncate(write_video(tmp_path / "cut.mkv", num_frames=200), 0.6)
    other = write_video(tmp_path / "other.mp4")
    open_video(other, limits=limits)
    video = open_video(damaged, limits=limits)
    assert video.damaged
    for _ in range(2):
        open_video(other, limits=limits).frames_at([0])
        assert read_numbers(video.frames_at([0, 20]).pixels) == [0, 20]
    assert num_started() == num_workers


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_truncated_file_is_read_as_far_as_it_goes(tmp_path: Path, suffix: str) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    path = write_video(tmp_path / f"cut{suffix}", num_frames=200, codec=codec, container_options=options)
    video = open_video(truncate(path, 0.6))
    assert 40 < video.num_frames < 180
    assert video.damaged
    assert video.note is not None
    assert video.note.startswith(f"The file is damaged: {video.num_frames} ")
    indices = [0, video.num_frames // 2]
    assert read_numbers(video.frames_at(indices).pixels) == indices


def test_a_clip_of_a_damaged_file_has_its_true_frames(tmp_path: Path) -> None:
    options = {"g": "250", "crf": "5"}
    path = write_video(
        tmp_path / "scratched.mp4", num_frames=100, options=options, container_options={"movflags": "faststart"}
    )
    video = open_video(scratch(path))
    assert (video.num_frames, video.decoder, video.note) == (100, "decord", None)
    with pytest.raises(FrameCountChangedError):
        video.frames_at([0, 99])
    assert video.num_frames < 100
    assert video.decoder == "PyAV"
    clip = read_clip(path, ClipSpec(sampler="equidistant"))
    assert clip.decoder == "PyAV"
    assert clip.notes == (f"The file is damaged: {video.num_frames} of 100 frames could be read.",)
    assert clip.frames[-1].sources[0] < video.num_frames


def test_damage_found_by_a_worker_that_has_to_reopen_the_file(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "scratched.mp4",
        num_frames=100,
        options={"g": "250", "crf": "5"},
        container_options={"movflags": "faststart"},
    )
    video = open_video(scratch(path))
    open_video(write_video(tmp_path / "other.mp4")).frames_at([0])
    with pytest.raises(FrameCountChangedError):
        video.frames_at([0, 99])
    assert video.decoder == "PyAV"


def test_work_is_repeated_with_the_true_frame_count(tmp_path: Path) -> None:
    options = {"g": "250", "crf": "5"}
    path = write_video(
        tmp_path / "scratched.mp4", num_frames=100, options=options, container_options={"movflags": "faststart"}
    )
    video, numbers_of_frames = open_video(scratch(path)), []

    def ends(num_frames: int) -> np.ndarray:
        numbers_of_frames.append(num_frames)
        return video.frames_at([0, num_frames - 1]).pixels

    assert video.retry_on_recount(ends).shape[0] == 2
    assert numbers_of_frames == [100, video.num_frames]
    again = open_video(path)
    steps = list(again.iterate_with_recount(lambda num_frames: (ends(num_frames) for _ in range(2))))
    assert [len(step) for step in steps] == [2, 2]


def test_seconds_of_a_damaged_file(tmp_path: Path) -> None:
    options = {"g": "250", "crf": "5"}
    path = write_video(
        tmp_path / "scratched.mp4", num_frames=100, options=options, container_options={"movflags": "faststart"}
    )
    video = open_video(scratch(path))
    with pytest.raises(FrameCountChangedError):
        video.frames_at([0, 99])
    everything = range(video.num_frames)
    assert video.seconds_at(everything) == video.frames_at(everything).seconds
    with pytest.raises(VideoError, match="no frame 99"):
        video.seconds_at([99])


def test_mangled_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    seeds = [write_video(tmp_path / "seed.mp4"), write_video(tmp_path / "seed.avi", codec="mpeg4")]
    rng, answers = random.Random(0), []
    for count, seed in itertools.product(range(12), seeds):
        data = bytearray(seed.read_bytes())
        for _ in range(rng.choice([1, 10, 100])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path = tmp_path / f"mangled{count}{seed.suffix}"
        path.write_bytes(data[: rng.randrange(len(data) // 2, len(data) + 1)])
        try:
            answers.append(read_clip(path, ClipSpec(sampler="equidistant")).pixels.shape[0] == 8)
        except VideoError as error:
            answers.append(str(error).startswith(path.name) and "\n" not in str(error))
    assert all(answers)
    assert len(answers) == 24


@pytest.mark.parametrize("kind", [MemoryError, av.error.MemoryError, av.error.BlockingIOError])
def test_a_lack_of_memory_is_not_counted_as_damage(kind: type[OSError]) -> None:
    class Failing:
        def decode(self) -> NoReturn:
            raise kind(12, "Cannot allocate memory")

        def demux(self, *tracks: object) -> NoReturn:
            raise kind(12, "Cannot allocate memory")

    failing, damaged = cast("Any", Failing()), []
    with pytest.raises(kind):
        decode_first_frame(failing)
    with pytest.raises(kind):
        list(iter_packets(failing, on_damage=lambda: damaged.append(1)))
    assert not damaged
