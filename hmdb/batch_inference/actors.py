"""What the actors do to a table of videos: one decodes, the next answers; on a CPU one does both.

Between them a video is a row with the pixels of its clips as bytes, resized as the model wants them: the largest
thing that passes, 1.2 MB for eight frames of 224x224.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hmdb.batch_inference.download import DownloadedFile, download_all
from hmdb.batch_inference.job import Job
from hmdb.clips.clip import Clip
from hmdb.clips.reader import take_clip, take_clips
from hmdb.clips.windows import boundaries, windows
from hmdb.errors import HmdbError, ModelError
from hmdb.machine import tune_malloc
from hmdb.model.preprocess import resize_and_crop
from hmdb.results import ClipScores, Timeline
from hmdb.text import first_line, one_line
from hmdb.video import Video, open_video

VIDEOS = pa.schema([("path", pa.string()), ("location", pa.string())])  # its key, and where it is
DECODED = pa.schema(
    [
        ("path", pa.string()),
        ("stamp", pa.string()),
        ("pixels", pa.binary()),  # of the clip, then of each window; null where the video failed
        ("moves", pa.list_(pa.bool_())),  # whether anything does, likewise
        ("windows", pa.list_(pa.int64())),  # start, stop, start, stop, ...
        ("border_seconds", pa.list_(pa.float64())),
        ("num_frames", pa.int64()),
        ("fps", pa.float64()),
        ("duration_seconds", pa.float64()),
        ("decoder", pa.string()),
        ("fetch_seconds", pa.float64()),
        ("decode_seconds", pa.float64()),
        ("error_class", pa.string()),
        ("error", pa.string()),
    ]
)
SEGMENT = pa.struct(
    [
        ("label", pa.string()),  # null for none of the model's labels
        ("probability", pa.float32()),
        ("start_frame", pa.int64()),
        ("end_frame", pa.int64()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
    ]
)


def answer_schema(job: Job) -> pa.Schema:
    """The columns of the answers; `segments` become a table of their own when they are written."""
    fields = [
        ("path", pa.string()),
        ("stamp", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("is_known", pa.bool_()),  # false: perhaps none of the labels
        ("doubt", pa.string()),  # why
        ("familiarity", pa.float32()),
        ("top", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))),
        ("num_frames", pa.int64()),
        ("fps", pa.float64()),
        ("duration_seconds", pa.float64()),
        ("decoder", pa.string()),
        ("fetch_seconds", pa.float64()),
        ("decode_seconds", pa.float64()),
        ("answer_seconds", pa.float64()),
        ("model", pa.string()),
        ("revision", pa.string()),
        ("dtype", pa.string()),
        ("error_class", pa.string()),
        ("error", pa.string()),
    ]
    embedding = [("embedding", pa.list_(pa.float32(), job.embeddings))] if job.embeddings else []
    segments = [("segments", pa.list_(SEGMENT))] if job.timeline else []
    return pa.schema(fields + embedding + segments)


class DecodeActor:
    """Locations -> pixels. What a video does to its decoder costs its own row."""

    def __init__(self, job: Job) -> None:
        tune_malloc()
        self._job = job

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """VIDEOS -> DECODED, a few rows at a time."""
        rows: list[dict[str, Any]] = []
        for path, one in zip(
            table["path"].to_pylist(), download_all(table["location"].to_pylist(), self._job.fetching), strict=True
        ):
            rows.append(self._row(path, one))
            if len(rows) == self._rows_at_once:
                yield pa.Table.from_pylist(rows, schema=DECODED)
                rows = []
        if rows:
            yield pa.Table.from_pylist(rows, schema=DECODED)

    @property
    def _rows_at_once(self) -> int:
        return 1 if self._job.timeline else self._job.batch_size  # a timeline is up to 49 clips

    def _row(self, path: str, one: DownloadedFile) -> dict[str, Any]:
        row: dict[str, Any] = {"path": path, "stamp": one.stamp, "fetch_seconds": one.seconds}
        began = time.perf_counter()
        try:
            row |= self._decoded(open_video(one.path(), limits=self._job.limits), random.Random(path))
        except Exception as error:  # one of a million, which would end the job each time that it comes to this video
            row |= failure(error)
        return row | {"decode_seconds": time.perf_counter() - began}

    def _decoded(self, video: Video, rng: random.Random) -> dict[str, Any]:
        spec = self._job.clip_spec
        clips = [self._shrunk(take_clip(video, spec, rng))]
        spans: Sequence[range] = ()
        if self._job.timeline:
            spans, of_windows = video.counted(lambda num_frames: self._of_windows(video, num_frames, rng))
            clips += of_windows
        return {
            "pixels": b"".join(pixels for pixels, _ in clips),
            "moves": [moves for _, moves in clips],
            "windows": [frame for span in spans for frame in (span.start, span.stop)],
            "border_seconds": video.seconds_at(boundaries(spans)) if spans else None,
            "num_frames": video.num_frames,
            "fps": video.fps,
            "duration_seconds": video.duration,
            "decoder": video.decoder,
        }

    def _of_windows(
        self, video: Video, num_frames: int, rng: random.Random
    ) -> tuple[Sequence[range], list[tuple[bytes, bool]]]:
        spec = self._job.clip_spec
        spans = windows(num_frames, spec)
        # one window at a time: full frames of several would be large
        return spans, [self._shrunk(clip) for span in spans for clip in take_clips(video, spec, [span], rng)]

    def _shrunk(self, clip: Clip) -> tuple[bytes, bool]:
        """Its pixels as the model wants them, and whether anything moves in them as they were."""
        return resize_and_crop(clip.pixels, self._job.pixel_spec).tobytes(), clip.moves


class AnswerActor:
    """Pixels -> answers."""

    def __init__(self, job: Job) -> None:
        tune_malloc()
        self._job = job
        self._recognizer = job.recognizer()
        self._schema = answer_schema(job)

    def __call__(self, table: pa.Table) -> pa.Table:
        """DECODED -> `answer_schema`."""
        rows = [
            {name: table[name][index].as_py() for name in DECODED.names if name != "pixels"}
            for index in range(table.num_rows)
        ]
        clips = [self._clips(table["pixels"][index]) for index in range(table.num_rows)]
        counts = [len(each) for each in clips]
        began = time.perf_counter()
        judged = self._judged([clip for each in clips for clip in each])
        answered = [[next(judged) for _ in range(count)] for count in counts]
        each_took = (time.perf_counter() - began) / max(sum(counts), 1)
        finished = [self._row(row, outcome) for row, outcome in zip(rows, answered, strict=True)]
        for row, count in zip(finished, counts, strict=True):
            row["answer_seconds"] = each_took * count
        return pa.Table.from_pylist(finished, schema=self._schema)

    def _clips(self, pixels: pa.Scalar) -> np.ndarray:
        """uint8 (number of clips, T, H, W, 3), without a copy."""
        shape = self._job.clip_shape
        if not pixels.is_valid:
            return np.empty((0, *shape), np.uint8)
        return np.frombuffer(pixels.as_buffer(), np.uint8).reshape(-1, *shape)

    def _judged(self, clips: Sequence[np.ndarray]) -> Iterator[ClipScores | ModelError]:
        """What the model makes of each; where an answer is not finite, the error is its clip's alone."""
        for start in range(0, len(clips), self._job.batch_size):
            some = clips[start : start + self._job.batch_size]
            try:
                yield from self._recognizer.score_clips(np.stack(some))
            except ModelError as error:
                if len(some) == 1:
                    yield error
                else:
                    yield from (judged for clip in some for judged in self._judged([clip]))

    def _row(self, row: dict[str, Any], judged: Sequence[ClipScores | ModelError]) -> dict[str, Any]:
        loaded = self._recognizer.loaded
        row |= {
            "model": loaded.checkpoint.name,
            "revision": loaded.checkpoint.revision,
            "dtype": self._recognizer.dtype,
        }
        for each in judged:
            if isinstance(each, ModelError):
                return row | failure(each)
        if not judged:
            return row
        whole, *of_windows = [each for each in judged if not isinstance(each, ModelError)]
        top = [{"label": label, "probability": value} for label, value in whole.top(self._job.top_k)]
        reason = whole.rejection_reason(moves=row["moves"][0])
        row |= {
            "label": top[0]["label"],
            "probability": top[0]["probability"],
            "is_known": reason is None,
            "doubt": reason,
            "familiarity": whole.in_distribution_score,
            "top": top,
        }
        if self._job.embeddings:
            row["embedding"] = whole.embedding
        if self._job.timeline:
            row["segments"] = self._segments(row, of_windows)
        return row

    def _segments(self, row: dict[str, Any], of_windows: Sequence[ClipScores]) -> list[dict[str, Any]]:
        spans = [range(*pair) for pair in zip(row["windows"][::2], row["windows"][1::2], strict=True)]
        loaded = self._recognizer.loaded
        answers = [
            scores.window_answer(span, moves=moves)
            for span, scores, moves in zip(spans, of_windows, row["moves"][1:], strict=True)
        ]
        timeline = Timeline(
            answers=tuple(answers),
            num_windows=len(spans),
            num_frames=row["num_frames"],
            fps=row["fps"],
            model=loaded.checkpoint.name,
            revision=loaded.checkpoint.revision,
            spec=self._job.clip_spec,
            seconds=tuple(row["border_seconds"]) if row["border_seconds"] else None,
        )
        return [{field.name: getattr(segment, field.name) for field in SEGMENT} for segment in timeline.segments]


class DecodeAndAnswerActor:
    """Locations -> answers, where both are work for the same cores: no pixels pass from process to process."""

    def __init__(self, job: Job) -> None:
        self._decode = DecodeActor(job)
        self._answer = AnswerActor(job)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """VIDEOS -> `answer_schema`, a few rows at a time."""
        for decoded in self._decode(table):
            yield self._answer(decoded)


def failure(error: Exception) -> dict[str, Any]:
    told = str(error) if isinstance(error, HmdbError) else one_line(first_line(error))
    return {"error_class": type(error).__name__, "error": told}
