"""What a visitor may cost."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated, Literal

from hmdb.settings import FromEnvironment


@dataclass(frozen=True, kw_only=True)
class Settings(FromEnvironment):
    """What a visitor may cost. HMDB_MAX_WAITING sets `max_waiting`, and so on for each name.

    Attributes:
        max_upload_mb: the largest file, in MB.
        max_waiting: answers that wait or are worked on; further visitors are told to come back.
        share: of them that one address may have.
        at_once: answers that are worked on at the same time.
        seconds: that one answer may take; a long video is left unfinished then, and what is known is shown.
        windows: of a long video that are looked at, at most.
        disk_mb: of uploads and results on the disk, in MB; the oldest make room for new ones.
        keep_seconds: until uploads and results are deleted.
        compare: a second checkpoint, Hub id or folder, to set beside the first; none by default.
        dtype: the precision, as `Recognizer` takes it; int8 only for checkpoints that lose little by it.
        metrics: whether figures for Prometheus are at /metrics, for everybody.
        proxies: that stand before the page, each of which adds the address that it was asked from to the header
            X-Forwarded-For; one on a Space, none by default elsewhere.
    """

    prefix = "HMDB_"

    max_upload_mb: int = 50
    max_waiting: int = 32
    share: int = 8
    at_once: int = 1
    seconds: float = 120.0
    windows: int = 48
    disk_mb: int = 2048
    keep_seconds: int = 3600
    compare: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    metrics: bool = False
    proxies: Annotated[int, "may be 0"] = field(default_factory=lambda: int("SPACE_ID" in os.environ))


def lends_gpu() -> bool:
    """Whether this is a Space that lends its GPU."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))
