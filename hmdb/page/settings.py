"""Settings of the page: limits, models and the address it listens at."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from hmdb.errors import DataError
from hmdb.settings import FromEnvironment

MAX_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class Settings(FromEnvironment):
    """Limits and models of the page. HMDB_MAX_WAITING sets `max_waiting`, and so on for each name.

    Attributes:
        max_upload_mb: size limit of an upload, in MB.
        max_waiting: queued and running answers; further requests are refused.
        max_per_address: queued and running answers of one client address.
        concurrency: answers that run at the same time.
        answer_timeout_seconds: time limit of one answer without queueing; a long video is then left unfinished.
        max_windows: windows of a long video.
        disk_mb: disk budget of uploads and results, in MB; the oldest are deleted for new ones.
        keep_seconds: lifetime of uploads and results.
        second_model: a checkpoint to compare with the first, Hub id or folder; none by default.
        dtype: the precision, as `Recognizer` takes it; int8 only for checkpoints that lose little by it.
        metrics: serves Prometheus metrics at /metrics, to everybody.
        trusted_proxies: proxies before the page, each of which appends the address of its client to X-Forwarded-For;
            by default 1 on a Space, otherwise 0.
    """

    prefix = "HMDB_"
    former_names: ClassVar[Mapping[str, str]] = {
        "max_per_address": "share",
        "concurrency": "at_once",
        "answer_timeout_seconds": "seconds",
        "max_windows": "windows",
        "second_model": "compare",
        "trusted_proxies": "proxies",
    }

    max_upload_mb: int = 50
    max_waiting: int = 32
    max_per_address: int = 8
    concurrency: int = 1
    answer_timeout_seconds: float = 120.0
    max_windows: int = 48
    disk_mb: int = 2048
    keep_seconds: int = 3600
    second_model: str = ""
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    metrics: bool = False
    trusted_proxies: Annotated[int, "may be 0"] = field(default_factory=lambda: int("SPACE_ID" in os.environ))


@dataclass(frozen=True, kw_only=True)
class ServerAddress(FromEnvironment):
    """Address and port of the page, set by Gradio's variables GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""

    prefix = "GRADIO_SERVER_"

    name: str = "127.0.0.1"
    port: int = 7860

    def __post_init__(self) -> None:
        if self.port > MAX_PORT:
            raise DataError(f"GRADIO_SERVER_PORT must be at most {MAX_PORT}, not {self.port}.")

    def check(self) -> None:
        """Tries to bind the address; Gradio does not report why it cannot.

        Raises:
            DataError: the port is taken, or the address is not available.
        """
        host = self.name.strip("[]")  # of an IPv6 address
        try:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn sets it
                trial.bind((host, self.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                message = f"Port {self.port} is taken by another program. Set GRADIO_SERVER_PORT to a free one."
            else:
                message = (
                    f"The page cannot listen at {self.name}, port {self.port}: {error.strerror}. "
                    "Set GRADIO_SERVER_NAME and GRADIO_SERVER_PORT to others."
                )
            raise DataError(message) from error


def on_zerogpu() -> bool:
    """True on a ZeroGPU Space, which lends its GPU for one call at a time."""
    return bool(os.environ.get("SPACES_ZERO_GPU"))
