"""The actors, called directly, without Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hmdb.batch_inference.actors import VIDEOS, AnswerActor, DecodeActor, DecodeAndAnswerActor, answer_schema
from hmdb.batch_inference.download import FetchLimits
from hmdb.batch_inference.job import Job
from hmdb.errors import ModelError
from hmdb.model.ood import OodDetector, OodScale
from hmdb.recognizer import Recognizer
from hmdb.video.limits import Limits
from tests.support.clips import write_frames


@pytest.fixture(scope="module")
def job(recognizer: Recognizer) -> Job:
    loaded = recognizer.loaded
    return Job(
        checkpoint=loaded.checkpoint,
        clip_spec=loaded.clip_spec,
        pixel_spec=loaded.pixel_spec,
        device="cpu",
        dtype="float32",
        top_k=5,
        embeddings=0,
        timeline=True,
        limits=Limits(),
        fetch_limits=FetchLimits(),
        batch_size=4,
    )


def table(*paths: Path) -> pa.Table:
    return pa.table({"path": list(map(str, paths)), "location": list(map(str, paths))}, schema=VIDEOS)


def run_actor(actor: Any, *paths: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.concat_tables(actor(table(*paths))).to_pylist()
    return rows


def test_the_combined_actor_gives_the_rows_of_the_two(job: Job, videos: Path) -> None:
    paths = [videos / "0.mp4", videos / "text.mp4", videos / "frames"]
    answer = AnswerActor(job)
    apart = [row for decoded in DecodeActor(job)(table(*paths)) for row in answer(decoded).to_pylist()]
    together = run_actor(DecodeAndAnswerActor(job), *paths)
    assert [row.keys() for row in apart] == [row.keys() for row in together]
    assert list(together[0]) == answer_schema(job).names
    for one, other in zip(apart, together, strict=True):
        assert {key: one[key] for key in ("path", "stamp", "top", "segments", "error")} == {
            key: other[key] for key in ("path", "stamp", "top", "segments", "error")
        }


def test_out_of_distribution_videos_are_rejected_as_by_the_recognizer(
    job: Job, recognizer: Recognizer, videos: Path, tmp_path: Path
) -> None:
    still = write_frames(tmp_path / "still", np.full((12, 120, 160, 3), 90, np.uint8))
    width = recognizer.loaded.network.config.hidden_size
    standard = {"confidence_mean": 0.0, "confidence_std": 1.0, "distance_mean": 0.0, "distance_std": 1.0}
    scale = OodScale(confidence="energy", **standard, threshold=0.0)
    means = np.zeros((len(recognizer.labels), width), np.float32)
    known = OodDetector(means=means, whitening=np.eye(width, dtype=np.float32), scale=scale)
    actor, alone = AnswerActor(job), Recognizer(replace(recognizer.loaded, ood_detector=known))
    actor._recognizer = alone
    for path in (videos / "0.mp4", still):
        (row,) = (row for decoded in DecodeActor(job)(table(path)) for row in actor(decoded).to_pylist())
        prediction = alone(path)
        assert row["familiarity"] == pytest.approx(prediction.in_distribution_score, abs=1e-4)
        assert (row["is_known"], row["doubt"]) == (prediction.is_known, prediction.rejection_reason)
        segments = alone.timeline(path).segments
        assert [segment["label"] for segment in row["segments"]] == [segment.label for segment in segments]
    assert row["doubt"] == "Nothing moves in this clip."


def test_an_unexpected_error_costs_its_row_only(job: Job, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MemoryError("no room\nat all")

    monkeypatch.setattr("hmdb.batch_inference.actors.open_video", fails)
    (row,) = run_actor(DecodeAndAnswerActor(job), videos / "0.mp4")
    assert (row["error_class"], row["error"], row["label"]) == ("MemoryError", "no room", None)


def test_a_clip_without_finite_scores_costs_its_row_only(
    job: Job, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = AnswerActor(job)
    (decoded,) = DecodeActor(replace(job, timeline=False))(table(videos / "0.mp4", videos / "1.mp4"))
    overflowing = np.frombuffer(decoded["pixels"][1].as_buffer(), np.uint8).reshape(job.clip_shape)
    forward = answer._recognizer.score_clips

    def score_clips(pixels: np.ndarray) -> Any:
        if any(np.array_equal(clip, overflowing) for clip in pixels):
            raise ModelError("The answer of tiny is not finite.")
        return forward(pixels)

    monkeypatch.setattr(answer, "_job", replace(job, timeline=False))
    monkeypatch.setattr(answer._recognizer, "score_clips", score_clips)
    first, second = answer(decoded).to_pylist()
    assert (first["error"], second["error"]) == (None, "The answer of tiny is not finite.")
    assert first["label"] is not None
    assert second["label"] is second["top"] is second["is_known"] is None
