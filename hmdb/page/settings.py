"""What a visitor may cost."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hmdb.settings import FromEnvironment


@dataclass(frozen=True, kw_only=True)
class Settings(FromEnvironment):
    """What a visitor may cost. HMDB_MAX_WAITING sets `max_waiting`, and so on for each name.

    Attributes:
        max_upload_mb: the largest file, in MB.
        max_waiting: visitors in the queue; further ones are told to come back.
        at_once: answers that are worked on at the same time.
        seconds: that one answer may take; a long video is left unfinished then, and what is known is shown.
        windows: of a long video that are looked at, at most.
        disk_mb: of uploads and results on the disk, in MB; the oldest make room for new ones.
        keep_seconds: until uploads and results are deleted.
        compare: a second checkpoint, Hub id or folder, to set beside the first; none by default.
        dtype: the precision, as `Recognizer` takes it; int8 only for checkpoints that lose little by it.
    """

    prefix = "HMDB_"

    max_upload_mb: int = 50
    max_waiting: int = 32
    at_once: int = 1
    seconds: float = 120.0
    windows: int = 48
    disk_mb: int = 2048
    keep_seconds: int = 3600
    compare: str = ""
    dtype: str = "auto"


def lends_gpu() -> bool:
    """Whether this is a Space that lends its GPU."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))
