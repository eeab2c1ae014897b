"""The page on Gradio: the only package that imports gradio or spaces. Nothing else in hmdb imports it.

Layers, each importing only earlier ones: `settings` and `server` (protection of the HTTP server), `views` (results as
HTML, text and pictures), `service` (scheduling, models), `tabs` (components, events), `api` and `launch`, `layout`.
"""

import os
import secrets
import tempfile
from pathlib import Path

PREFIX = "hmdb-page-"


def _own_folder() -> Path:
    """A path with an unguessable name for the uploads and results of this process."""
    given = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()
    parent = given.parent if given.name.startswith(PREFIX) else given  # inherited from another page's process
    return parent / f"{PREFIX}{secrets.token_hex(16)}"


ROOT = _own_folder()
os.environ["GRADIO_TEMP_DIR"] = str(ROOT)  # which Gradio reads when it is imported, and for each component
