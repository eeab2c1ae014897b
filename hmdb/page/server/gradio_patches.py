"""Keeps Gradio from handing files to programs.

For gr.Video it asks ffprobe about each file and has ffmpeg convert it, where there are such programs, without limits
and while everybody waits. Told that ffprobe fails, it leaves videos as they are.
"""

from __future__ import annotations

from typing import Any

from gradio._vendor.ffmpy import FFmpeg, FFRuntimeError


def block_ffmpeg() -> None:
    """From now on, for the whole process."""
    FFmpeg.run = _refuse  # type: ignore[method-assign]


def _refuse(self: FFmpeg, *arguments: Any, **options: Any) -> Any:
    raise FFRuntimeError(self.cmd, 1, b"", b"no programs are started here")
