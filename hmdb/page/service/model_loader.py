"""Background loading of the page's models."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from hmdb.machine import gc_paused
from hmdb.page.settings import Settings, on_zerogpu
from hmdb.video import prepare

if TYPE_CHECKING:
    from hmdb.recognizer import Recognizer

log = logging.getLogger(__name__)


class BackgroundModel:
    """A recognizer that loads in its own thread, so that the page is up first."""

    def __init__(self, load: Callable[[], Recognizer]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._future: Future[Recognizer] | None = None

    def start(self) -> Future[Recognizer]:
        """Starts loading; later calls return the same future."""
        with self._lock:
            if self._future is None:
                self._future = Future()
                threading.Thread(target=self._run, args=(self._future,), name="load-model", daemon=True).start()
            return self._future

    def _run(self, future: Future[Recognizer]) -> None:
        try:
            future.set_result(self._load())
        except BaseException as error:  # raised again by `wait`
            future.set_exception(error)

    @property
    def state(self) -> str:
        """ "loading" (also before `start`), "ready" or "failed"."""
        if self._future is None or not self._future.done():
            return "loading"
        return "failed" if self._future.exception() else "ready"

    def wait_done(self) -> None:
        """Blocks until the model is loaded or has failed to load."""
        self.start().exception()

    def wait(self) -> Recognizer:
        """Blocks until the recognizer is loaded, and returns it.

        Raises:
            HmdbError: loading failed.
        """
        return self.start().result()


def load_recognizer(model: str | None = None, dtype: str = "auto") -> Recognizer:
    """Loads the recognizer that answers visitors. If int8 is requested but unavailable, its notes say why.

    Raises:
        HmdbError: the model cannot be loaded, or there is no such dtype.
    """
    prepare()  # starts a decoding process in parallel
    with gc_paused():
        from transformers.utils.logging import disable_progress_bar

        from hmdb.model.loading import load
        from hmdb.recognizer import Recognizer

        disable_progress_bar()  # type: ignore[no-untyped-call]
        loaded = load(model)
        if dtype == "int8" and loaded.int8_unavailable_reason:
            note = f"int8 is not in use: {loaded.int8_unavailable_reason}"
            log.warning(note)
            loaded, dtype = replace(loaded, notes=(*loaded.notes, note)), "auto"
        return Recognizer.from_loaded(loaded, dtype)


def as_background(recognizer: Recognizer | BackgroundModel) -> BackgroundModel:
    """Wraps a recognizer that is loaded already."""
    return recognizer if isinstance(recognizer, BackgroundModel) else BackgroundModel(lambda: recognizer)


def load_models(settings: Settings) -> tuple[BackgroundModel, BackgroundModel | None]:
    """Returns the model that answers and the optional second one for comparison.

    On ZeroGPU both are loaded right away: what is on the GPU before the first visitor comes is there for all of them.
    """
    first = BackgroundModel(partial(load_recognizer, dtype=settings.dtype))
    second = (
        BackgroundModel(partial(load_recognizer, settings.second_model, settings.dtype))
        if settings.second_model
        else None
    )
    if on_zerogpu():
        for each in filter(None, (first, second)):
            each.wait()
    return first, second
