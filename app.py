"""The Space: the page of hmdb/page, with the model and the limits that the environment names."""

from __future__ import annotations

from pathlib import Path

from hmdb.errors import DataError
from hmdb.machine import gc_paused, keep_freed_memory

with gc_paused():
    from hmdb.page.layout import build_demo
    from hmdb.page.model import loadings
    from hmdb.page.serve import serve
    from hmdb.page.settings import Settings

EXAMPLES = Path(__file__).parent / "examples"

try:
    settings = Settings.from_environment()
except DataError as error:
    raise SystemExit(str(error)) from error
recognizer, second = loadings(settings)
demo = build_demo(recognizer, second, settings, examples=EXAMPLES)


def main() -> None:
    """Serves the page, and loads the model once it is up."""
    keep_freed_memory()
    serve(demo, settings)
    recognizer.start()
    demo.block_thread()


if __name__ == "__main__":
    main()
