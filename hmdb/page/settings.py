"""What a visitor may cost, and where the page listens."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, field
from typing import Annotated, Literal

from hmdb.errors import DataError
from hmdb.settings import FromEnvironment

MAX_PORT = 65535


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


@dataclass(frozen=True, kw_only=True)
class ServerAddress(FromEnvironment):
    """Where the page listens, by Gradio's own variables: GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""

    prefix = "GRADIO_SERVER_"

    name: str = "127.0.0.1"
    port: int = 7860

    def __post_init__(self) -> None:
        if self.port > MAX_PORT:
            raise DataError(f"GRADIO_SERVER_PORT must be at most {MAX_PORT}, not {self.port}.")

    def check(self) -> None:
        """Tries it, as Gradio does not tell why it cannot listen somewhere.

        Raises:
            DataError: it is taken, or not to be had.
        """
        host = self.name.strip("[]")  # of an IPv6 address
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
                trial.bind((host, self.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                words = f"Port {self.port} is taken by another program. Set GRADIO_SERVER_PORT to a free one."
            else:
                words = (
                    f"The page cannot listen at {self.name}, port {self.port}: {error.strerror}. "
                    "Set GRADIO_SERVER_NAME and GRADIO_SERVER_PORT to others."
                )
            raise DataError(words) from error


def on_zerogpu() -> bool:
    """Whether this is a Space that lends its GPU."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))
