"""Every hook into Gradio that is not in its documentation: the checklist for an upgrade.

A test looks up each of them. Paths are relative to hmdb/page.

| hook | used in | reason |
|---|---|---|
| `gradio._vendor.ffmpy.FFmpeg.run` | server/gradio_patches.py | gr.Video runs ffmpeg programs on uploads |
| `gradio._vendor.ffmpy.FFRuntimeError` | server/gradio_patches.py | what Gradio expects of a failed ffmpeg program |
| `gradio.components.File.preprocess` | server/gradio_patches.py | leaves an empty temporary file behind |
| `gradio.components.Image.preprocess` | tabs/live.py | decodes pictures of any size |
| `gradio.components.Slider.preprocess` | api.py | its errors do not name the value |
| `gradio.data_classes.FileData` | server/gradio_patches.py | payload of gr.File |
| `gradio.data_classes.ImageData` | tabs/live.py | payload of gr.Image |
| `gradio.context.LocalContext.request` | server/session.py | session and client of the current event |
| `gradio.exceptions.ComponentProcessingError` | server/error_reporting.py | wraps errors of handlers |
| `gradio.Blocks.process_api` | server/error_reporting.py | its errors quote input and paths |
| `gradio.Blocks.preprocess_data` | server/error_reporting.py | its errors quote input and paths |
| `gradio.route_utils.API_PREFIX` | server/middleware/request_guard.py | the prefix of routes |
| `gradio.route_utils.API_PREFIX` | server/middleware/stream_order.py | the prefix of routes |
| `gradio.route_utils.API_PREFIX` | server/mcp.py | the prefix of routes |
| `gradio.route_utils.API_PREFIX` | server/uploads.py | the prefix of routes |
| `gradio.route_utils.API_PREFIX` | views/social_cards.py | the prefix of routes |
| `gradio.route_utils.get_root_url` | server/middleware/request_guard.py | the page's address as the client sees it |
| `gradio.route_utils.upload_fn` | server/uploads.py | stores an upload in a given folder |
| `gradio.routes.file_upload_statuses` | server/uploads.py | progress of uploads |
| `demo.api_open` | service/page_blocks.py | what `queue` sets, which builds the server a second time |
| `demo.local_url` | launch.py | the address at which MCP calls the page |
| `demo.is_running` | launch.py | ends the threads of the page |
| `demo.temp_file_sets` | server/gradio_patches.py | remembers the name of every file for good |
| `demo.server.config.http_protocol_class` | server/gradio_patches.py | timeouts of connections |
| `demo.server.config.timeout_graceful_shutdown` | server/gradio_patches.py | ends open connections on shutdown |
| `demo.server.config.loaded_app` | server/gradio_patches.py | middleware outside of Gradio's own |
| `gradio.Blocks.launch(_frontend)` | launch.py | a check of its own address fails on a busy machine |
| `gradio.Blocks.launch(app_kwargs)` | launch.py | middleware inside of Gradio's own |

`type_stubs.py` has one more, in the standard library, as it must work before Gradio is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio._vendor.ffmpy import FFmpeg, FFRuntimeError
from gradio.data_classes import FileData
from starlette.types import ASGIApp

from hmdb.page.server.connection import TimeoutH11Protocol


def block_ffmpeg() -> None:
    """Keeps Gradio from running ffmpeg and ffprobe, in the whole process and for good.

    gr.Video runs both on uploads where they are installed. Told that ffprobe fails, it leaves videos as they are.
    """
    FFmpeg.run = _refuse  # type: ignore[method-assign]


def _refuse(self: FFmpeg, *arguments: Any, **options: Any) -> Any:
    raise FFRuntimeError(self.cmd, 1, b"", b"ffmpeg programs are not run here")


def pass_upload_path(files: gr.File) -> gr.File:
    """Makes the component pass its handlers the path of the upload itself; Gradio's own way leaves an empty file."""
    files.preprocess = _path  # type: ignore[method-assign]
    return files


def _path(payload: object) -> str | None:
    return payload.path if isinstance(payload, FileData) else None


def forget_temp_files(demo: gr.Blocks) -> None:
    """Clears the sets of file names that Gradio only adds to."""
    for names in demo.temp_file_sets:
        names.clear()


def wrap_running_server(demo: gr.Blocks, wrap: Callable[[ASGIApp], ASGIApp], shutdown_seconds: int) -> None:
    """Installs our protocol and middleware in Gradio's running server, for all further connections.

    Args:
        shutdown_seconds: until open connections are cut when the server ends.
    """
    config = demo.server.config
    config.http_protocol_class = TimeoutH11Protocol
    config.timeout_graceful_shutdown = shutdown_seconds
    config.loaded_app = wrap(config.loaded_app)
