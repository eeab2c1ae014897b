"""The model of the page, which loads once the page is up."""

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
    """A recognizer that loads in a thread of its own, so that the page is up first."""

    def __init__(self, load: Callable[[], Recognizer]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._future: Future[Recognizer] | None = None

    def start(self) -> Future[Recognizer]:
        """Begins to load, once; later calls return the same future."""
        with self._lock:
            if self._future is None:
                self._future = Future()
                threading.Thread(target=self._run, args=(self._future,), name="load-model", daemon=True).start()
            return self._future

    def _run(self, future: Future[Recognizer]) -> None:
        try:
            future.set_result(self._load())
        except BaseException as error:  # raised again by whoever asks for the result
            future.set_exception(error)

    @property
    def state(self) -> str:
        """ "loading", also before that begins; "ready" or "failed"."""
        if self._future is None or not self._future.done():
            return "loading"
        return "failed" if self._future.exception() else "ready"

    def settle(self) -> None:
        """Waits until it is there or has failed."""
        self.start().exception()

    def wait(self) -> Recognizer:
        """The recognizer, as soon as it is there.

        Raises:
            HmdbError: what loading raised.
        """
        return self.start().result()


def load_recognizer(model: str | None = None, dtype: str = "auto") -> Recognizer:
    """A model for visitors. Where int8 is asked for and is not for this one, its notes say why.

    Raises:
        HmdbError: it cannot be loaded, or there is no such dtype.
    """
    prepare()  # another process, which starts beside what follows if none did
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
    return recognizer if isinstance(recognizer, BackgroundModel) else BackgroundModel(lambda: recognizer)


def load_models(settings: Settings) -> tuple[BackgroundModel, BackgroundModel | None]:
    """The model that answers and the one to set beside it, where there is one.

    On a Space that lends its GPU both are loaded at once: what is on the GPU before the first visitor comes is
    there for all of them.
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
