"""A file, read through a worker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hmdb.errors import VideoError
from hmdb.text import display_name, first_line
from hmdb.video.limits import Limits
from hmdb.video.protocol import DECORD, PYAV, StreamInfo
from hmdb.video.sniff import ADVICE, sniff
from hmdb.video.video import FrameCountChangedError, Frames, StreamFormat, Video
from hmdb.video.worker_pool import (
    NoDecoderError,
    OutOfMemoryError,
    StartError,
    UnansweredError,
    WorkerCrashedError,
    WorkerReply,
    WorkerTimeoutError,
    default_pool,
)


class _Accepted(NamedTuple):
    facts: StreamInfo
    pixels: np.ndarray | None
    seconds: tuple[float, ...] | None


class RefusedByWorkerError(Exception):
    """The technical cause of a refusal."""


def open_error(path: Path, error: OSError) -> VideoError:
    """No permission, a name that is too long, a disk that fails."""
    return VideoError(f"{display_name(path)} cannot be opened: {error.strerror or 'unknown reason'}.")


class VideoFile(Video):
    """A video file. What is known of it is in `facts`, which frames that turn out damaged change."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._name = display_name(path)
        self._limits = limits
        self._container = sniff(path)
        self._facts = self._ask([]).facts

    @property
    def num_frames(self) -> int:  # type: ignore[override]
        return self._facts.num_frames

    @property
    def fps(self) -> float | None:  # type: ignore[override]
        return self._facts.fps

    @property
    def size(self) -> tuple[int, int]:  # type: ignore[override]
        return self._facts.width, self._facts.height

    @property
    def format(self) -> StreamFormat:  # type: ignore[override]
        facts = self._facts
        return StreamFormat(
            container=self._container.name,
            codec=facts.codec,
            profile=facts.profile,
            pixel_format=facts.pixel_format,
        )

    @property
    def decoder(self) -> str:  # type: ignore[override]
        return self._facts.decoder

    @property
    def note(self) -> str | None:  # type: ignore[override]
        facts = self._facts
        if not facts.damaged:
            return None
        if facts.announced > facts.num_frames:
            return f"The file is damaged: {facts.num_frames} of {facts.announced} frames could be read."
        return f"The file is damaged: {facts.num_frames} frames could be read, and some may be broken."

    def frames_at(self, indices: Sequence[int]) -> Frames:
        self._check(indices, self.num_frames)
        if not indices:
            width, height = self.size
            return Frames(pixels=np.empty((0, height, width, 3), np.uint8), seconds=() if self.fps else None)
        before, answer = self._facts, self._told(indices, pixels=True)
        if answer.pixels is None:
            raise self._recounted(before)
        return Frames(pixels=answer.pixels, seconds=answer.seconds)

    def seconds_at(self, indices: Sequence[int]) -> tuple[float, ...] | None:
        end = self.num_frames
        self._check(indices, end + 1)
        if not indices:
            return () if self.fps else None
        seconds = self._told([min(index, end - 1) for index in indices], pixels=False).seconds
        if seconds is None:
            return None
        lasting = 1 / self.fps if self.fps else 0.0
        return tuple(second + lasting * (index == end) for index, second in zip(indices, seconds, strict=True))

    def _check(self, indices: Sequence[int], end: int) -> None:
        for index in indices:
            if not 0 <= index < end:
                raise VideoError(f"{self._name} has {self.num_frames} frames and no frame {index}.")

    def _told(self, indices: Sequence[int], *, pixels: bool) -> _Accepted:
        """What the worker answers about frames of the video as it is known."""
        before = self._facts
        answer = self._ask(indices, before, pixels=pixels)
        self._facts = answer.facts
        if answer.facts.num_frames != before.num_frames:
            raise self._recounted(before)
        return answer

    def _recounted(self, before: StreamInfo) -> FrameCountChangedError:
        return FrameCountChangedError(f"{self._name} has {self.num_frames} frames, not {before.num_frames}.")

    def _ask(self, indices: Sequence[int], expected: StreamInfo | None = None, *, pixels: bool = False) -> _Accepted:
        request = {
            "container": asdict(self._container),
            "decord": expected is None or expected.decoder != PYAV,
            "indices": list(indices),
            "pixels": pixels,
        }
        if expected is not None:
            request["num_frames"] = expected.num_frames
        try:
            answer = self._put(request)
        except NoDecoderError as error:
            raise VideoError(
                f"No video can be read here, as PyAV cannot be loaded: {first_line(error)}. `pip install av` brings it."
            ) from error
        except StartError as error:
            raise VideoError(
                f"No video can be read here, as no decoding process starts: {first_line(error)}. "
                "Try again; it needs memory (HMDB_DECODE_MEMORY_MB) and some processor time."
            ) from error
        except WorkerTimeoutError as error:
            raise VideoError(
                f"{self._name} takes longer than {self._limits.seconds:g} seconds to decode. "
                "Try a shorter or smaller part of it, or an mp4 (H.264)."
            ) from error
        except OutOfMemoryError as error:
            raise VideoError(
                f"{self._name} needs more memory to decode than the {self._limits.memory_mb} MiB that it may take. "
                "Try a smaller version of it, or allow more (HMDB_DECODE_MEMORY_MB)."
            ) from error
        except WorkerCrashedError as error:
            raise VideoError(
                f"{self._name} cannot be decoded: it is damaged, or needs too much memory. {ADVICE}"
            ) from error
        if answer.facts is None:
            raise VideoError(self._words(answer)) from RefusedByWorkerError(answer.detail or answer.refused)
        return _Accepted(answer.facts, answer.pixels, answer.seconds)

    def _put(self, request: dict[str, object]) -> WorkerReply:
        """Puts a request, and once more to a fresh worker if the first one ends over it: it may have had little memory
        left, and decord, which is left out then, may have failed where PyAV does not. What was too slow without decord
        is not tried again. Both tries share the time that one may take.
        """
        try:
            return self._put_to_worker(request, self._limits.seconds)
        except UnansweredError as error:
            if isinstance(error, WorkerTimeoutError) and error.trying != DECORD:
                raise
            again = {**request, "decord": request["decord"] and error.trying != DECORD}
            return self._put_to_worker(again, error.seconds_left, fresh=True)

    def _put_to_worker(self, request: dict[str, object], seconds: float, *, fresh: bool = False) -> WorkerReply:
        try:
            file = self._path.open("rb", buffering=0)
        except OSError as error:
            raise open_error(self._path, error) from error
        with file:
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            request = {**request, "identity": identity}
            return default_pool().ask(request, file, self._limits, seconds=seconds, fresh=fresh)

    def _words(self, answer: WorkerReply) -> str:
        match answer.refused, answer.numbers:
            case "no pictures", _:
                return f"{self._name} has no picture track. {ADVICE}"
            case "large", (width, height, *_):
                largest = self._limits.source_pixels / 1e6
                return (
                    f"{self._name} is {width} x {height} pixels, "
                    f"more than the {largest:.0f} megapixels that can be read. Try a smaller version of it."
                )
            case "long", _:
                return f"{self._name} has more than {self._limits.frames} frames. Try a part of it."
        return f"{self._name} cannot be read as a video. {ADVICE}"
