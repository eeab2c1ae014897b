"""Starts the page of hmdb/page with the model and limits set by environment variables."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path

from hmdb.errors import DataError
from hmdb.machine import gc_paused, give_up_real_time, tune_malloc
from hmdb.page.server.type_stubs import without_type_stubs
from hmdb.page.settings import ServerAddress, Settings
from hmdb.video import prepare

EXAMPLES = Path(__file__).parent / "examples"

give_up_real_time()
try:
    prepare()  # starts a decoding process in the background; invalid limits are reported here
    settings, address = Settings.from_environment(), ServerAddress.from_environment()
except DataError as error:
    raise SystemExit(str(error)) from error

with gc_paused(), without_type_stubs():
    from hmdb.page.launch import PageServer
    from hmdb.page.layout import build_demo
    from hmdb.page.service.model_loader import load_models

recognizer, second = load_models(settings)
demo = build_demo(recognizer, second, settings, examples=EXAMPLES)


def main() -> None:
    """Serves the page, loads the model once it is up, and shuts down on SIGTERM or SIGINT."""
    tune_malloc()
    logging.basicConfig(format="%(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("hmdb").setLevel(logging.INFO)
    shutdown = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: shutdown.set())
    try:
        address.check()
        # Given a port, Gradio does not fall back to the next free one.
        page = PageServer(demo, settings, server_name=address.name, server_port=address.port)
    except (DataError, OSError) as error:
        raise SystemExit(str(error)) from error
    recognizer.start()
    while not shutdown.wait(0.1):  # a signal that another thread receives wakes no wait
        pass
    page.close()


if __name__ == "__main__":
    main()
