"""Puts the page up."""

from __future__ import annotations

import threading
import time
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from hmdb.page.border import Border
from hmdb.page.files import FILES
from hmdb.page.layout import CSS
from hmdb.page.settings import Settings


def serve(demo: gr.Blocks, settings: Settings, **options: Any) -> str:
    """Puts the page up and returns its address."""
    FILES.budget, FILES.keep_seconds = settings.disk_mb * 2**20, settings.keep_seconds
    FILES.settle()
    border = Middleware(Border, files=FILES, settings=settings, local_url=lambda: demo.local_url or "")
    _, url, _ = demo.launch(
        theme=gr.themes.Soft(),
        css=CSS,
        max_file_size=f"{settings.max_upload_mb}mb",
        app_kwargs={"middleware": [border]},
        state_session_capacity=SESSIONS,
        show_error=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=True,
        prevent_thread_lock=True,
        **options,
    )
    threading.Thread(target=keep_clean, args=(demo, settings), name="keep-clean", daemon=True).start()
    return url


SESSIONS = 200  # whose components Gradio remembers, at 0.15 MB each


def keep_clean(demo: gr.Blocks, settings: Settings) -> None:
    """Deletes what has had its time, while the page is up."""
    while demo.is_running:
        time.sleep(min(settings.keep_seconds / 4, 60))
        FILES.sweep()
        for names in demo.temp_file_sets:
            names.clear()  # Gradio would remember the name of each file for good
