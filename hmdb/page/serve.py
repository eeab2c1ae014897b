"""Puts the page up."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import gradio as gr

from hmdb.page.files import keep_clean
from hmdb.page.settings import Settings
from hmdb.page.theme import CSS, THEME, WORDS, head


def serve(demo: gr.Blocks, settings: Settings, *, examples: Path | None = None, **options: Any) -> str:
    """Puts the page up and returns its address.

    Args:
        examples: the folder of the example videos.
    """
    _, url, _ = demo.launch(
        theme=THEME,
        css=CSS,
        head=head(),
        i18n=WORDS,
        max_file_size=f"{settings.max_upload_mb}mb",
        allowed_paths=[str(examples)]
        if examples
        else [],  # not its files: Gradio holds every file of an answer against each
        show_error=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=True,
        prevent_thread_lock=True,
        **options,
    )
    threading.Thread(target=keep_clean, args=(settings.keep_seconds,), name="keep-clean", daemon=True).start()
    return url
