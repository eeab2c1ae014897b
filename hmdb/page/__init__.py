"""The page on Gradio: the only place that imports gradio or spaces. Nothing else in hmdb imports it."""

import os
import secrets
import tempfile
from pathlib import Path

PREFIX = "hmdb-page-"


def _own_folder() -> Path:
    """Where this process keeps what visitors send and get: a name that nobody can guess, beside those of others."""
    given = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()
    parent = given.parent if given.name.startswith(PREFIX) else given  # inherited from another page
    return parent / f"{PREFIX}{secrets.token_hex(16)}"


ROOT = _own_folder()
os.environ["GRADIO_TEMP_DIR"] = str(ROOT)  # which Gradio asks for as it is imported, and for each component
