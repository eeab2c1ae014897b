"""The Space: the page of hmdb/page, with the model and the limits that the environment names."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path

from hmdb.errors import DataError
from hmdb.machine import gc_paused, keep_freed_memory
from hmdb.page.stubs import without_type_stubs
from hmdb.video import prepare

EXAMPLES = Path(__file__).parent / "examples"

try:
    prepare()  # a process that decodes, which starts beside what follows; a mistake in its limits is told now
except DataError as error:
    raise SystemExit(str(error)) from error

with gc_paused(), without_type_stubs():
    from hmdb.page.layout import build_demo
    from hmdb.page.model import loadings
    from hmdb.page.serve import Page
    from hmdb.page.settings import Settings

try:
    settings = Settings.from_environment()
except DataError as error:
    raise SystemExit(str(error)) from error
recognizer, second = loadings(settings)
demo = build_demo(recognizer, second, settings, examples=EXAMPLES)


def main() -> None:
    """Serves the page, loads the model once it is up, and ends when it is told to."""
    keep_freed_memory()
    logging.basicConfig(format="%(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("hmdb").setLevel(logging.INFO)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    port = int(os.environ.get("GRADIO_SERVER_PORT", "7860"))
    try:
        page = Page(demo, settings, server_port=port)
    except OSError as error:  # Gradio would try the next ports, where nobody looks for the page
        raise SystemExit(f"Port {port} is taken by another program. Set GRADIO_SERVER_PORT to a free one.") from error
    recognizer.start()
    while not end.wait(0.1):  # a signal that reaches another thread wakes nobody
        pass
    page.close()


if __name__ == "__main__":
    main()
