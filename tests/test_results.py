import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from hmdb import ClipSpec, VideoError
from hmdb.clips.reader import take_clips
from hmdb.clips.windows import boundaries, windows
from hmdb.recognizer import Recognizer
from hmdb.results import Timeline, WindowAnswer
from hmdb.video import Frames, open_video
from hmdb.video.video import FrameCountChangedError
from tests.support.clips import NumberedVideo, moving_bar, write_frames, write_mp4
from tests.support.videos import write_video

SHORT = ClipSpec(num_frames=8, stride=4)  # 32 frames


def timeline(labels: str, *, clock: bool = True, num_windows: int | None = None) -> Timeline:
    """Builds a timeline with a window of 20 frames for each letter, every 10 frames; "-" is none of these."""
    answers = tuple(
        WindowAnswer(
            frames=range(10 * i, 10 * i + 20), label=None if letter == "-" else letter, probability=(i + 1) / 10
        )
        for i, letter in enumerate(labels)
    )
    count = num_windows or len(labels)
    return Timeline(
        answers=answers,
        num_windows=count,
        num_frames=10 * count + 10,
        fps=10.0 if clock else None,
        model="m",
        revision=None,
        spec=SHORT,
        seconds=tuple(frame / 10 for frame in boundaries([answer.frames for answer in answers])) if clock else None,
    )


def test_neighbours_with_the_same_label_are_joined() -> None:
    segments = timeline("aab-a").segments
    assert [segment.label for segment in segments] == ["a", "b", None, "a"]
    assert [(segment.start_frame, segment.end_frame) for segment in segments] == [(0, 25), (25, 35), (35, 45), (45, 60)]
    assert [segment.probability for segment in segments] == pytest.approx([0.15, 0.3, 0.4, 0.5])
    assert segments[1].start_seconds == 2.5


def test_an_unfinished_timeline() -> None:
    so_far = timeline("aa", num_windows=5)
    assert not so_far.is_complete
    assert so_far.segments[-1].end_frame == 30
    assert so_far.coverage == pytest.approx(30 / 60)
    assert timeline("aaaaa").coverage == 1


def test_timeline_exports() -> None:
    found = timeline("aab-")
    data = json.loads(found.to_json())
    assert data["segments"][0] == {
        "label": "a", "probability": pytest.approx(0.15), "start_frame": 0, "end_frame": 25,
        "start_seconds": 0.0, "end_seconds": 2.5, "looked_at": True,
    }  # fmt: skip
    assert data["clip_spec"] == SHORT.to_dict()
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["label"] for row in rows] == ["a", "b", ""]
    assert rows[0]["end_seconds"] == "2.5"
    assert found.to_srt() == (
        "1\n00:00:00,000 --> 00:00:02,500\na (15%)\n\n"
        "2\n00:00:02,500 --> 00:00:03,500\nb (30%)\n\n"
        "3\n00:00:03,500 --> 00:00:05,000\nnone of these\n"
    )


def gappy(clock: tuple[float, ...] = (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)) -> Timeline:
    """Three windows of 20 frames with gaps of 20 between them, at 10 frames a second."""
    answers = [
        WindowAnswer(frames=range(40 * i, 40 * i + 20), label=label, probability=0.5)
        for i, label in enumerate(["a", "a", None])
    ]
    return dataclasses.replace(timeline("aaa"), answers=tuple(answers), num_frames=100, seconds=clock)


def test_seconds_that_nobody_looked_at_are_no_answer() -> None:
    found = gappy()
    assert [(each.name, each.start_frame, each.end_frame, each.looked_at) for each in found.segments] == [
        ("a", 0, 20, True), ("not looked at", 20, 40, False), ("a", 40, 60, True), ("not looked at", 60, 80, False),
        ("none of these", 80, 100, True),
    ]  # fmt: skip
    assert found.coverage == pytest.approx(0.6)
    assert [row["looked_at"] for row in csv.DictReader(io.StringIO(found.to_csv()))] == ["True", "False"] * 2 + ["True"]
    assert found.to_srt().count("-->") == 3
    assert "00:00:04,000 --> 00:00:06,000" in found.to_srt()
    assert found.to_srt().endswith("none of these\n")
    gap = found.to_dict()["segments"][1]
    assert (gap["label"], gap["probability"], gap["looked_at"]) == (None, None, False)


def test_segments_never_run_backwards() -> None:
    found = gappy((0.0, 2.0, 0.0, 2.0, 5.0, 7.0))  # a recording that was joined to another
    edges = [(each.start_seconds, each.end_seconds) for each in found.segments]
    assert edges == [(0.0, 2.0), (2.0, 2.0), (2.0, 2.0), (2.0, 5.0), (5.0, 7.0)]


@pytest.mark.parametrize("fps", [10, 15, 30, 60, 120])
def test_windows_last_as_long_at_every_frame_rate(fps: int) -> None:
    first, second, *_ = windows(60 * fps, ClipSpec().at_rate(fps))
    assert first.stop / fps == pytest.approx(256 / 30, abs=0.3)
    assert second.start / fps == pytest.approx(119 / 30, abs=0.4)


def test_a_timeline_without_a_clock_has_no_subtitles() -> None:
    assert timeline("ab").has_clock
    found = timeline("ab", clock=False)
    assert not found.has_clock
    assert found.segments[0].start_seconds is None
    assert "start_seconds" in found.to_csv()
    with pytest.raises(VideoError, match=r"^This video has no timestamps, so it has no subtitles\.$"):
        found.to_srt()


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mp4(tmp_path_factory.mktemp("long") / "long.mp4", moving_bar(900))


def test_timeline_of_a_long_video(recognizer: Recognizer, long_video: Path) -> None:
    calls: list[tuple[int, int]] = []
    found = recognizer.timeline(long_video, progress=lambda done, total: calls.append((done, total)))
    spec = recognizer.loaded.clip_spec.at_rate(25)
    expected = windows(900, spec)
    assert [answer.frames for answer in found.answers] == list(expected)
    assert calls[-1] == (len(expected), len(expected))
    assert len(calls) == -(-len(expected) // 4)
    assert found.is_complete
    assert found.segments[-1].end_seconds == pytest.approx(36)
    video = open_video(long_video)
    for window, answer in zip(expected, found.answers, strict=True):
        (clip,) = take_clips(video, spec, [window])
        assert recognizer.predict(clip).probability == pytest.approx(answer.probability, abs=1e-5)


@pytest.mark.parametrize(("name", "start"), [("varying.mp4", 0), ("late.mp4", 700), ("late.ts", 700)])
def test_boundaries_have_the_seconds_of_their_timestamps(
    recognizer: Recognizer, tmp_path: Path, name: str, start: int
) -> None:
    times = [start + 200 * i for i in range(25)]  # 5 frames a second, then 50
    times += [times[-1] + 20 * (i + 1) for i in range(300)]
    path = write_video(tmp_path / name, num_frames=325, milliseconds=times, max_b_frames=0)
    found = recognizer.timeline(path)
    clock = dict(enumerate(open_video(path).frames_at(range(325)).seconds or ()))
    assert clock[24] - clock[0] == pytest.approx(4.8, abs=0.002)
    mean = (clock[324] - clock[0]) / 324
    assert found.seconds == pytest.approx([*(clock[frame] for frame in found.borders[:-1]), clock[324] + mean])
    assert found.segments[0].start_seconds == clock[0]
    assert found.seconds is not None
    assert found.segments[-1].end_seconds == found.seconds[-1]


def test_timeline_of_a_raw_stream(recognizer: Recognizer, tmp_path: Path) -> None:
    found = recognizer.timeline(write_video(tmp_path / "raw.h264"))
    assert not found.has_clock
    assert found.segments[-1].end_frame == 30


def test_an_abandoned_timeline_stops(recognizer: Recognizer, long_video: Path) -> None:
    steps = recognizer.iter_timeline(long_video)
    first = next(steps)
    steps.close()
    assert 0 < len(first.answers) < first.num_windows

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recognizer.timeline(long_video, progress=stop)


def test_timeline_of_a_short_folder(recognizer: Recognizer, tmp_path: Path) -> None:
    found = recognizer.timeline(write_frames(tmp_path / "frames", moving_bar(12)))
    (segment,) = found.segments
    assert (segment.start_frame, segment.end_frame, segment.start_seconds) == (0, 12, None)
    assert segment.label in recognizer.labels


def test_a_timeline_decodes_a_batch_at_a_time(recognizer: Recognizer) -> None:
    video = NumberedVideo(100_000)
    recognizer.timeline(video, max_windows=12)
    assert max(map(len, video.requests)) <= 4 * 8
    flat = [index for batch in video.requests for index in batch]
    assert flat == sorted(flat)
    assert len(video.requests) == 3


class Shrinking(NumberedVideo):
    """A damaged video that proves shorter when its end is read."""

    def frames_at(self, indices: Sequence[int]) -> Frames:
        frames = super().frames_at(indices)
        if self.num_frames == 2000 and self.requests[-1][-1] >= 900:
            self.num_frames = 900
            raise FrameCountChangedError("900 frames, not 2000")
        return frames


def test_timeline_of_a_damaged_video(recognizer: Recognizer) -> None:
    found = recognizer.timeline(Shrinking(2000))
    assert found.is_complete
    assert found.num_frames == 900
    assert [answer.frames for answer in found.answers] == list(windows(900, recognizer.loaded.clip_spec.at_rate(25)))
