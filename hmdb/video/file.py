"""A video file, decoded by a worker process."""

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
from hmdb.video.worker_pool import default_pool
from hmdb.video.worker_process import (
    NoDecoderError,
    NoMemoryToStartError,
    OutOfMemoryError,
    StartError,
    UnansweredError,
    WorkerCrashedError,
    WorkerReply,
    WorkerTimeoutError,
)


class _Accepted(NamedTuple):
    info: StreamInfo
    pixels: np.ndarray | None
    seconds: tuple[float, ...] | None


class RefusedByWorkerError(Exception):
    """The technical cause of a refusal, chained to the VideoError that reports it. Never raised by itself."""


def open_error(path: Path, error: OSError) -> VideoError:
    """Returns the error for a file that cannot be opened: no permission, a name that is too long, a failing disk."""
    return VideoError(f"{display_name(path)} cannot be opened: {error.strerror or 'unknown reason'}.")


class VideoFile(Video):
    """A video file. Its properties change if reading frames shows that it is damaged."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._name = display_name(path)
        self._limits = limits
        self._container = sniff(path)
        self._info = self._request([]).info

    @property
    def num_frames(self) -> int:  # type: ignore[override]
        return self._info.num_frames

    @property
    def fps(self) -> float | None:  # type: ignore[override]
        return self._info.fps

    @property
    def size(self) -> tuple[int, int]:  # type: ignore[override]
        return self._info.width, self._info.height

    @property
    def format(self) -> StreamFormat:  # type: ignore[override]
        info = self._info
        return StreamFormat(
            container=self._container.name,
            codec=info.codec,
            profile=info.profile,
            pixel_format=info.pixel_format,
        )

    @property
    def decoder(self) -> str:  # type: ignore[override]
        return self._info.decoder

    @property
    def note(self) -> str | None:  # type: ignore[override]
        info = self._info
        if not info.damaged:
            return None
        if info.announced > info.num_frames:
            return f"The file is damaged: {info.num_frames} of {info.announced} frames could be read."
        return f"The file is damaged: {info.num_frames} frames could be read, and some may be broken."

    def frames_at(self, indices: Sequence[int]) -> Frames:
        self._check(indices, self.num_frames)
        if not indices:
            width, height = self.size
            return Frames(pixels=np.empty((0, height, width, 3), np.uint8), seconds=() if self.fps else None)
        before, answer = self._info, self._request_frames(indices, pixels=True)
        if answer.pixels is None:
            raise self._frame_count_changed(before)
        return Frames(pixels=answer.pixels, seconds=answer.seconds)

    def seconds_at(self, indices: Sequence[int]) -> tuple[float, ...] | None:
        end = self.num_frames
        self._check(indices, end + 1)
        if not indices:
            return () if self.fps else None
        seconds = self._request_frames([min(index, end - 1) for index in indices], pixels=False).seconds
        if seconds is None:
            return None
        last_frame = 1 / self.fps if self.fps else 0.0
        return tuple(second + last_frame * (index == end) for index, second in zip(indices, seconds, strict=True))

    def _check(self, indices: Sequence[int], end: int) -> None:
        for index in indices:
            if not 0 <= index < end:
                raise VideoError(f"{self._name} has {self.num_frames} frames and no frame {index}.")

    def _request_frames(self, indices: Sequence[int], *, pixels: bool) -> _Accepted:
        """Asks the worker for frames or their seconds, and updates what is known of the video.

        Raises:
            FrameCountChangedError: it has another number of frames than was known.
            VideoError: it cannot be read.
        """
        before = self._info
        answer = self._request(indices, before, pixels=pixels)
        self._info = answer.info
        if answer.info.num_frames != before.num_frames:
            raise self._frame_count_changed(before)
        return answer

    def _frame_count_changed(self, before: StreamInfo) -> FrameCountChangedError:
        return FrameCountChangedError(f"{self._name} has {self.num_frames} frames, not {before.num_frames}.")

    def _request(self, indices: Sequence[int], known: StreamInfo | None = None, *, pixels: bool = False) -> _Accepted:
        request = {
            "container": asdict(self._container),
            "decord": known is None or known.decoder != PYAV,
            "indices": list(indices),
            "pixels": pixels,
        }
        if known is not None:
            request["num_frames"] = known.num_frames
        try:
            reply = self._send(request, known)
        except NoDecoderError as error:
            raise VideoError(
                f"No video can be read here, as PyAV cannot be loaded: {first_line(error)}. `pip install av` brings it."
            ) from error
        except NoMemoryToStartError as error:
            raise VideoError(
                f"No video can be read here: the memory limit of {self._limits.memory_mb} MiB is too small, as "
                f"a decoding process needs {error.needed_mb} MiB or more. "
                f"Raise HMDB_DECODE_MEMORY_MB ({Limits().memory_mb} by default)."
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
        if reply.info is None:
            raise VideoError(self._refusal_message(reply)) from RefusedByWorkerError(reply.detail or reply.refusal)
        return _Accepted(reply.info, reply.pixels, reply.seconds)

    def _send(self, request: dict[str, object], known: StreamInfo | None) -> WorkerReply:
        """Sends a request, and once more to a fresh worker where the first one could not be trusted with it:

        - It died. It may have had little memory left, and decord, which the second try leaves out, may have failed
          where PyAV does not. A timeout without decord is final.
        - It reports damage, and is short of memory, which FFmpeg can take for damage.

        Both tries share the time of one.
        """
        try:
            reply = self._send_once(request, self._limits.seconds)
        except UnansweredError as error:
            if isinstance(error, WorkerTimeoutError) and error.decoder != DECORD:
                raise
            again = {**request, "decord": request["decord"] and error.decoder != DECORD}
            return self._send_once(again, error.seconds_left, fresh=True)
        if not reply.short_of_memory or not _reports_damage(reply, known):
            return reply
        try:
            return self._send_once(request, reply.seconds_left, fresh=True)
        except WorkerTimeoutError:
            return reply

    def _send_once(self, request: dict[str, object], seconds: float, *, fresh: bool = False) -> WorkerReply:
        try:
            file = self._path.open("rb", buffering=0)
        except OSError as error:
            raise open_error(self._path, error) from error
        with file:
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            request = {**request, "identity": identity}
            return default_pool().ask(request, file, self._limits, seconds=seconds, fresh=fresh)

    def _refusal_message(self, reply: WorkerReply) -> str:
        match reply.refusal, reply.numbers:
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


def _reports_damage(reply: WorkerReply, known: StreamInfo | None) -> bool:
    """Returns True for damage beyond what is known of the video."""
    if reply.info is None:
        return reply.refusal == "unreadable"
    if known is None:
        return reply.info.damaged
    return reply.info != known and (reply.info.damaged or reply.info.num_frames != known.num_frames)
