"""The interface of a decoder in a worker, and the clock that all decoders share."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hmdb.video.protocol import StreamInfo
from hmdb.video.worker.scan import Scan

Picture = tuple[np.ndarray, float | None]  # uint8 RGB (H, W, 3), seconds


class DecoderUnsuitableError(Exception):
    """Another decoder should read this file. Internal: `__main__.py` catches it."""


class Reader(Protocol):
    """A file that is open in a worker."""

    @property
    def info(self) -> StreamInfo: ...

    def frames(self, indices: Sequence[int]) -> dict[int, Picture]:
        """Decodes the frames at these ascending indices. Returns fewer where the file ends early; `info` has the
        true number of frames then.

        Raises:
            DecoderUnsuitableError: another decoder should try.
        """

    def second(self, index: int) -> float | None:
        """Returns when a frame is shown, in seconds; None without a clock."""


def timestamp(scan: Scan, index: int) -> float | None:
    """Returns when a frame is shown, in seconds; None where the packets have no timestamps."""
    if index < len(scan.pts):
        return since_start(scan.start, float(scan.pts[index] * scan.time_base))
    return None


def since_start(start: float, moment: float) -> float:
    """Subtracts the start of the clock, in seconds rounded to the microsecond, FFmpeg's unit for it; never -0.0."""
    return round(moment - start, 6) + 0.0


def mean_fps(scan: Scan) -> float | None:
    if not scan.pts:
        return None
    seconds = float((scan.pts[-1] - scan.pts[0]) * scan.time_base)
    return (len(scan.pts) - 1) / seconds if seconds > 0 else scan.rate


def decord_works() -> bool:
    """Returns False where decord is missing: it has no wheel for ARM."""
    try:
        import decord  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


def load_pyav() -> None:
    """Imports every module of PyAV now, as the sandbox allows no import later."""
    import av

    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name not in ("av.__main__", "av.datasets"):  # not parts of the library
            importlib.import_module(module.name)
