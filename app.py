"""The Space: the page of hmdb/page, with the model and the limits that the environment names."""

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
    prepare()  # a process that decodes, which starts beside what follows; a mistake in its limits is told now
    settings, place = Settings.from_environment(), ServerAddress.from_environment()
except DataError as error:
    raise SystemExit(str(error)) from error

with gc_paused(), without_type_stubs():
    from hmdb.page.launch import PageServer
    from hmdb.page.layout import build_demo
    from hmdb.page.service.model_loader import load_models

recognizer, second = load_models(settings)
demo = build_demo(recognizer, second, settings, examples=EXAMPLES)


def main() -> None:
    """Serves the page, loads the model once it is up, and ends when it is told to."""
    tune_malloc()
    logging.basicConfig(format="%(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("hmdb").setLevel(logging.INFO)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    try:
        place.check()
        # With a port given Gradio does not try the next ones, where nobody looks for the page.
        page = PageServer(demo, settings, server_name=place.name, server_port=place.port)
    except (DataError, OSError) as error:
        raise SystemExit(str(error)) from error
    recognizer.start()
    while not end.wait(0.1):  # a signal that reaches another thread wakes nobody
        pass
    page.close()


if __name__ == "__main__":
    main()
