"""Ray actors that map tables of videos to tables of answers: one decodes, the next classifies; on a CPU one does both.

Between them a row holds the preprocessed pixels of a video's clips as bytes: 1.2 MB for eight frames of 224x224.
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

VIDEOS = pa.schema([("path", pa.string()), ("location", pa.string())])  # key and location
READING = [
    ("num_frames", pa.int64()),
    ("fps", pa.float64()),
    ("duration_seconds", pa.float64()),
    ("decoder", pa.string()),
    ("fetch_seconds", pa.float64()),
    ("decode_seconds", pa.float64()),
]
ERROR = [("error_class", pa.string()), ("error", pa.string())]
DECODED = pa.schema(
    [
        ("path", pa.string()),
        ("stamp", pa.string()),
        ("pixels", pa.binary()),  # of the clip, then of each window; null if the video failed
        ("moves", pa.list_(pa.bool_())),  # per clip, in the same order
        ("windows", pa.list_(pa.int64())),  # start, stop, start, stop, ...
        ("border_seconds", pa.list_(pa.float64())),
        *READING,
        *ERROR,
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
        ("looked_at", pa.bool_()),  # false for a gap between windows
    ]
)


def answer_schema(job: Job) -> pa.Schema:
    """The columns of the answers; the store writes `segments` as a table of its own."""
    fields = [
        ("path", pa.string()),
        ("stamp", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("is_known", pa.bool_()),  # false: it may show none of the labels
        ("doubt", pa.string()),  # the reason for that
        ("familiarity", pa.float32()),
        ("top", pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))),
        *READING,
        ("answer_seconds", pa.float64()),
        ("model", pa.string()),
        ("revision", pa.string()),
        ("dtype", pa.string()),
        *ERROR,
    ]
    embedding = [("embedding", pa.list_(pa.float32(), job.embeddings))] if job.embeddings else []
    segments = [("segments", pa.list_(SEGMENT))] if job.timeline else []
    return pa.schema(fields + embedding + segments)


class DecodeActor:
    """Locations -> pixels. A video that cannot be decoded costs its own row only."""

    def __init__(self, job: Job) -> None:
        tune_malloc()
        self._job = job

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """VIDEOS -> DECODED, a few rows at a time."""
        rows: list[dict[str, Any]] = []
        files = download_all(table["location"].to_pylist(), self._job.fetch_limits)
        for path, file in zip(table["path"].to_pylist(), files, strict=True):
            rows.append(self._row(path, file))
            if len(rows) == self._table_rows:
                yield pa.Table.from_pylist(rows, schema=DECODED)
                rows = []
        if rows:
            yield pa.Table.from_pylist(rows, schema=DECODED)

    @property
    def _table_rows(self) -> int:
        return 1 if self._job.timeline else self._job.batch_size  # a timeline is up to 49 clips

    def _row(self, path: str, file: DownloadedFile) -> dict[str, Any]:
        row: dict[str, Any] = {"path": path, "stamp": file.version, "fetch_seconds": file.seconds}
        start = time.perf_counter()
        try:
            row |= self._decode(open_video(file.path(), limits=self._job.limits), random.Random(path))
        except Exception as error:  # else one video of a million would end each run that comes to it
            row |= error_columns(error)
        return row | {"decode_seconds": time.perf_counter() - start}

    def _decode(self, video: Video, rng: random.Random) -> dict[str, Any]:
        spec = self._job.clip_spec
        clips = [self._preprocess(take_clip(video, spec, rng))]
        spans: Sequence[range] = ()
        if self._job.timeline:
            spans, window_clips = video.retry_on_recount(
                lambda num_frames: self._decode_windows(video, num_frames, rng)
            )
            clips += window_clips
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

    def _decode_windows(
        self, video: Video, num_frames: int, rng: random.Random
    ) -> tuple[Sequence[range], list[tuple[bytes, bool]]]:
        spec = self._job.clip_spec.at_rate(video.fps)
        spans = windows(num_frames, spec)
        # one window at a time, as full-size frames of several would need much memory
        return spans, [self._preprocess(clip) for span in spans for clip in take_clips(video, spec, [span], rng)]

    def _preprocess(self, clip: Clip) -> tuple[bytes, bool]:
        """The pixels resized and cropped for the model, and whether anything moves in the original ones."""
        return resize_and_crop(clip.pixels, self._job.pixel_spec).tobytes(), clip.moves


class AnswerActor:
    """Pixels -> answers."""

    def __init__(self, job: Job) -> None:
        tune_malloc()
        self._job = job
        self._recognizer = job.load_recognizer()
        self._schema = answer_schema(job)

    def __call__(self, table: pa.Table) -> pa.Table:
        """DECODED -> `answer_schema`."""
        rows = [
            {name: table[name][index].as_py() for name in DECODED.names if name != "pixels"}
            for index in range(table.num_rows)
        ]
        clips = [self._clips(table["pixels"][index]) for index in range(table.num_rows)]
        counts = [len(video_clips) for video_clips in clips]
        start = time.perf_counter()
        stream = self._score([clip for video_clips in clips for clip in video_clips])
        scores = [[next(stream) for _ in range(count)] for count in counts]
        clip_seconds = (time.perf_counter() - start) / max(sum(counts), 1)
        answers = [self._row(row, video_scores) for row, video_scores in zip(rows, scores, strict=True)]
        for answer, count in zip(answers, counts, strict=True):
            answer["answer_seconds"] = clip_seconds * count
        return pa.Table.from_pylist(answers, schema=self._schema)

    def _clips(self, pixels: pa.Scalar) -> np.ndarray:
        """uint8 (number of clips, T, H, W, 3), without a copy."""
        shape = self._job.clip_shape
        if not pixels.is_valid:
            return np.empty((0, *shape), np.uint8)
        return np.frombuffer(pixels.as_buffer(), np.uint8).reshape(-1, *shape)

    def _score(self, clips: Sequence[np.ndarray]) -> Iterator[ClipScores | ModelError]:
        """Classifies clips in batches; a clip whose scores are not finite gets an error and leaves the others alone."""
        for start in range(0, len(clips), self._job.batch_size):
            batch = clips[start : start + self._job.batch_size]
            try:
                yield from self._recognizer.score_clips(np.stack(batch))
            except ModelError as error:
                if len(batch) == 1:
                    yield error
                else:
                    yield from (scores for clip in batch for scores in self._score([clip]))

    def _row(self, row: dict[str, Any], scores: Sequence[ClipScores | ModelError]) -> dict[str, Any]:
        loaded = self._recognizer.loaded
        row |= {
            "model": loaded.checkpoint.name,
            "revision": loaded.checkpoint.revision,
            "dtype": self._recognizer.dtype,
        }
        for score in scores:
            if isinstance(score, ModelError):
                return row | error_columns(score)
        if not scores:
            return row
        whole, *window_scores = [score for score in scores if not isinstance(score, ModelError)]
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
            row["segments"] = self._segments(row, window_scores)
        return row

    def _segments(self, row: dict[str, Any], window_scores: Sequence[ClipScores]) -> list[dict[str, Any]]:
        spans = [range(*pair) for pair in zip(row["windows"][::2], row["windows"][1::2], strict=True)]
        loaded = self._recognizer.loaded
        answers = [
            scores.window_answer(span, moves=moves)
            for span, scores, moves in zip(spans, window_scores, row["moves"][1:], strict=True)
        ]
        timeline = Timeline(
            answers=tuple(answers),
            num_windows=len(spans),
            num_frames=row["num_frames"],
            fps=row["fps"],
            model=loaded.checkpoint.name,
            revision=loaded.checkpoint.revision,
            spec=self._job.clip_spec.at_rate(row["fps"]),
            seconds=tuple(row["border_seconds"]) if row["border_seconds"] else None,
        )
        return [{field.name: getattr(segment, field.name) for field in SEGMENT} for segment in timeline.segments]


class DecodeAndAnswerActor:
    """Locations -> answers in one process, for CPUs: both steps need the same cores, and no pixels are copied."""

    def __init__(self, job: Job) -> None:
        self._decode = DecodeActor(job)
        self._answer = AnswerActor(job)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """VIDEOS -> `answer_schema`, a few rows at a time."""
        for decoded in self._decode(table):
            yield self._answer(decoded)


def error_columns(error: Exception) -> dict[str, Any]:
    message = str(error) if isinstance(error, HmdbError) else one_line(first_line(error))
    return {"error_class": type(error).__name__, "error": message}
