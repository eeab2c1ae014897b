"""That the measurements measure what they say. How long anything takes is no test."""

import doctest
import math
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch

from benchmarks import live, queueing, strangers, teach, training
from benchmarks.__main__ import cpu
from benchmarks.clips import write_clip, write_lossless, write_repeated
from benchmarks.corpus import LIBRARIES, in_own_process, thumbnail
from benchmarks.decode import UNCONFINED, unconfined, with_worker
from benchmarks.queueing import burst, mean_wait, servers_needed
from benchmarks.race import _used_by, processor_seconds, race, to_json, to_markdown
from benchmarks.scores import Scores
from finetune.config.recipe import Recipe
from hmdb.model.attention import AttentionRecord
from hmdb.page.service.live_stream import decode_jpeg as decoded_url
from hmdb.page.views.gallery import film_strip
from hmdb.teaching.features import ClipFeatures
from hmdb.video import Confinement, confinement
from tests.support.paths import ROOT
from tests.support.videos import write_video


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_race_is_run_in_turn_and_compared_with_its_first() -> None:
    order: list[str] = []
    rows = race("part", "work", {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b", "a", "b", "a", "b"]  # the first of each only warms it
    assert [row.way for row in rows] == ["a", "b"]
    assert all(0 <= row.least <= row.median for row in rows)
    lines = to_markdown(rows).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| part | work | a |")
    assert "| 1.00 |" in lines[2]
    assert lines[3].startswith("|  |  | b |")
    assert to_json(rows).count('"way"') == 2


def test_scores_tell_whether_their_exponentials_can_be_summed() -> None:
    query = torch.tensor([[[[2.0], [1.0]]]])
    for largest, safe in ((30.0, True), (90.0, False)):
        key = torch.tensor([[[[largest], [-4.0]]]])
        found = Scores.of(AttentionRecord(query, key, None, None, scale=0.5))
        assert (found.least, found.largest, found.safe) == (-4, largest, safe)
    only_small = Scores.of(AttentionRecord(query, torch.tensor([[[[-90.0], [-91.0]]]]), None, None, scale=0.5))
    assert not only_small.safe


def test_an_answer_says_from_which_picture_it_was_made() -> None:
    urls = live.pictures(ROOT / "examples" / "wave.mp4")
    for number in (0, 1, 77, 170, 255):
        strip = film_strip(np.stack([decoded_url(urls[each % 256]) for each in range(number - 7, number + 1)]))
        assert live.number_of(strip) == number


def test_a_table_of_cameras() -> None:
    cameras = [live.Camera(answers=[(100 + second / 2, 0.3) for second in range(60)]) for _ in range(3)]
    cameras.append(live.Camera(answers=[(100 + second, 0.5) for second in range(30)]))
    rates, ages = live.table(cameras, "4 visitors", "load 1.0")
    assert (rates.least, rates.median) == (1, 2)
    assert "the least served gets 50% of the most served" in rates.note
    assert (ages.least, ages.median) == (300, 300)
    assert ages.note.startswith("95 % within 500 ms")


def test_an_exact_video_has_the_pixels_it_was_given(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(write_lossless(tmp_path / "exact.mp4", pixels)), pixels)


def test_a_repeated_video_shows_its_clip_again_and_again(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", num_frames=5, size=(96, 64))
    once, thrice = decoded(clip), decoded(write_repeated(tmp_path / "three.mp4", clip, 3))
    np.testing.assert_array_equal(thrice, np.concatenate([once] * 3))


def test_training_steps_are_taken_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "WAYS", {"plain": Recipe()})  # compiling takes half a minute
    fused, eager = training.rows(tmp_path, 2, ["timesformer-tiny"])
    assert (fused.way, eager.way) == ("plain", training.EAGER)
    assert 0 < fused.least <= fused.median
    assert "clips/s" in fused.note


def test_waiting_is_as_the_textbook_says() -> None:
    assert not doctest.testmod(queueing).failed
    # M/D/1: load * service / (2 (1 - load))
    assert mean_wait(arrivals=0.4, service=2.0, servers=1) == pytest.approx(0.8 * 2 / (2 * 0.2))
    # M/M/2 waits load^2 * service / (1 - load^2) with the load of each; M/D/2 half of that
    assert mean_wait(arrivals=1.0, service=1.0, servers=2) == pytest.approx(0.25 / 0.75 / 2)
    assert mean_wait(arrivals=2.0, service=1.0, servers=2) == math.inf
    assert servers_needed(visitors_per_hour=3600, service=1.0, wait=10.0) == 2
    assert burst(visitors=5, service=2.0, servers=2) == [2.0, 2.0, 4.0, 4.0, 6.0]


def test_the_cpu_is_named_with_the_instructions_that_matter(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    one = "processor\t: {}\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: A CPU\nflags\t\t: fpu avx2 avx512_bf16 fma\n"
    info.write_text("\n".join(one.format(index) for index in range(2)))
    assert cpu(info) == "A CPU (6/207): avx2 avx512_bf16 fma"
    assert cpu(tmp_path / "none")  # other systems have no such file


def seen(seed: int, classes: np.ndarray, spread: float = 0.3) -> strangers.Seen:
    """Features around one direction for each class, and logits that follow them."""
    rng = np.random.default_rng(seed)
    features = (np.eye(10, 12)[classes] * 4 + rng.normal(0, spread, (len(classes), 12))).astype(np.float32)
    return strangers.Seen(features=features, logits=2 * features[:, :10], classes=classes)


def test_every_detector_tells_far_strangers_from_clips_of_the_classes() -> None:
    train, val = seen(0, np.arange(200) % 10), seen(1, np.arange(60) % 10)
    noise = np.random.default_rng(2).normal(0, 1, (50, 12)).astype(np.float32)
    far = strangers.Seen(features=noise, logits=2 * noise[:, :10], classes=np.full(50, -1))
    for name, detector in strangers.DETECTORS.items():
        auroc, fpr = strangers.figures(detector(train, val), detector(train, far))
        assert float(auroc) > 0.9, name
        assert float(fpr) < 0.3, name
    table = strangers.far_table(train, val, {"noise": far}, val).splitlines()
    assert len(table) == 2 + len(strangers.DETECTORS)
    assert table[0].endswith("| noise | known that stay |")
    near = strangers.near_table(train, val)
    assert near.count("\n") == len(table)


def test_real_strangers_are_measured_by_sources_never_chosen_on(tmp_path: Path) -> None:
    sources = np.repeat(["small", "large", "free", "alike b", "alike a"], [1, 5, 9, 2, 2])
    assert strangers.kept_back(sources, ["free"]) == ["large", "alike b"]
    (tmp_path / "clips.csv").write_text("id,kind,repository\na1,run,large\n")
    assert strangers.read_table(tmp_path) == [(tmp_path / "run" / "a1", "run", "large")]
    known, found = np.arange(10.0), np.array([-1.0, 20.0, 8.0, 2.0])  # two strangers, two right answers
    strange = np.array([True, True, False, False])
    row = strangers.source_row("it", known, found, found >= 5, strange, ~strange, np.array(["a", "b", "a", "a"]))
    assert row.startswith("| it | 0.500 (0.000 to 1.000) | 0.500 | 1 of 2, 50% (0% to 100%) | 1 of 2 (9% to 91%) |")


def test_strangers_are_drawn_as_clips() -> None:
    rng = np.random.default_rng(0)
    for draw in (strangers.plain, strangers.shapes, strangers.desktop):
        clip = draw(rng)
        assert clip.dtype == np.uint8
        assert clip.shape == (8, 224, 224, 3)
        assert (clip[0] != clip[-1]).any()
    whole = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    mixed = strangers.shuffle(whole, rng)
    assert (mixed != whole).any()
    np.testing.assert_array_equal(np.sort(mixed, axis=None), np.sort(whole, axis=None))


def test_frames_are_the_same_without_the_sandbox(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", num_frames=20, size=(96, 64))
    np.testing.assert_array_equal(unconfined(clip), with_worker(clip))
    assert confinement().memory_mb
    (worker,) = UNCONFINED.workers()
    assert worker.confinement == Confinement(memory_mb=confinement().memory_mb)
    UNCONFINED.close()


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_alone_is_judged_by_its_frames(library: str, tmp_path: Path) -> None:
    if library != "av":
        pytest.importorskip(library)
    path = write_video(tmp_path / "clip.mp4")
    thumbs = np.stack([thumbnail(picture) for picture in decoded(path)])
    assert in_own_process(library, path, thumbs).kind == "right"
    assert in_own_process(library, path, thumbs[::-1]).kind == "wrong frames"
    path.write_bytes(b"no video")
    assert in_own_process(library, path, thumbs).kind == "refused"


@pytest.mark.skipif(sys.platform != "linux", reason="its clocks")
def test_processor_time_counts_work_of_children_and_no_waiting() -> None:
    code = (
        "import sys, time\n"
        "for line in sys.stdin:\n"
        "    until = time.process_time() + 0.1\n"
        "    while time.process_time() < until: pass\n"
        "    print(flush=True)\n"
    )

    def of_children() -> float:
        return processor_seconds() - time.process_time()  # the few µs between the two readings apart

    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        for _ in range(2):
            before = of_children()
            child.stdin.write(b"work\n")
            child.stdin.flush()
            child.stdout.readline()
            assert of_children() - before > 0.09
        while psutil.Process(child.pid).status() != psutil.STATUS_SLEEPING:
            pass
        waiting = [_used_by(child.pid) for _ in range(1000)]
        child.stdin.close()
    assert waiting[0] == waiting[-1]


def test_teaching_is_measured_on_kept_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = {
        "people": [
            ClipFeatures(
                label=label,
                parts=(rng.normal(0, 0.3, (3, 8)) + place).astype(np.float32),
                group=f"person {person}",
            )
            for label, place in (("a", 2), ("b", -2))
            for person in range(6)
        ],
        "negatives": [
            ClipFeatures(
                label=f"kind {index % 4}", parts=rng.normal(0, 0.3, (3, 8)).astype(np.float32), group=str(index)
            )
            for index in range(48)
        ],
    }
    teach.write(tmp_path / "features.npz", clips)
    text = teach.table(teach.read(tmp_path / "features.npz"))
    assert "| people | LDA | chosen | 100.0% | 100.0% |" in text
    assert "| people | 20 negatives |" in text
