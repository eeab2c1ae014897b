"""Puts the page up, keeps it clean, and takes it down."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from hmdb.errors import HmdbError
from hmdb.machine import give_back_memory
from hmdb.page.border import Border
from hmdb.page.brief import keep_logs_short
from hmdb.page.files import FILES
from hmdb.page.gate import Gate
from hmdb.page.handlers import Handlers
from hmdb.page.observed import report
from hmdb.page.server import Outside, set_up
from hmdb.page.settings import Settings
from hmdb.page.theme import CSS, HEAD, THEME, WORDS
from hmdb.video import Confinement, confinement

log = logging.getLogger(__name__)

SESSIONS = 64  # whose components Gradio remembers, at 0.6 MB each and 3 more where a camera was live
LIGHT = 64  # threads for what needs no turn
GRACE_SECONDS = 25  # for answers that are under way when the page is taken down
RETRY_SECONDS = 30  # between attempts to start a decoding process


class Page:
    """A page that is up.

    Attributes:
        url: its address.
    """

    def __init__(self, demo: gr.Blocks, settings: Settings, **options: Any) -> None:
        self.demo, self.settings = demo, settings
        self.do: Handlers = demo.handlers  # type: ignore[attr-defined]
        self.gate = Gate()
        self._confinement: Confinement | None = None
        self._no_worker = ""  # why not, where no decoding process starts
        keep_logs_short()
        FILES.budget, FILES.keep_seconds = settings.disk_mb * 2**20, settings.keep_seconds
        FILES.settle()
        border = Middleware(
            Border,
            files=FILES,
            settings=settings,
            gate=self.gate,
            links=demo.links,  # type: ignore[attr-defined]
            local_url=lambda: demo.local_url or "",
        )
        _, self.url, _ = demo.launch(
            theme=THEME,
            css=CSS,
            head=HEAD,
            i18n=WORDS,
            max_file_size=f"{settings.max_upload_mb}mb",
            app_kwargs={"middleware": [border]},
            state_session_capacity=SESSIONS,
            max_threads=settings.max_waiting + LIGHT,
            show_error=False,
            run_history=False,
            enable_monitoring=False,
            mcp_server=True,
            prevent_thread_lock=True,
            _frontend=False,  # only leaves out a check of its own address, which a busy machine fails after 3 s
            **options,
        )
        set_up(demo, self._around, shutdown_seconds=2)
        threading.Thread(target=self._keep_clean, name="keep-clean", daemon=True).start()
        threading.Thread(target=self._ask_confinement, name="ask-confinement", daemon=True).start()

    def _around(self, app: Any) -> Outside:
        return Outside(
            app,
            self.settings,
            health=self.health,
            under_way=lambda: self.do.turns.under_way,
            disk_bytes=lambda: FILES.used,
        )

    def health(self) -> dict[str, Any]:
        """How the page is, for whatever watches it; nothing of it waits for an answer or for a decoding process."""
        state, problem = self._state()
        return {
            "state": state,
            "problem": problem,
            "answers_under_way": self.do.turns.under_way,
            "disk_bytes": FILES.used,
            "confinement": self._confinement and asdict(self._confinement),
        }

    def _state(self) -> tuple[str, str]:
        """The state, and what is wrong in words."""
        state, problem = self.do.state, ""
        if state == "failed":
            problem = "No model could be loaded."
        elif self._no_worker:
            state, problem = "failed", self._no_worker
        elif self.do.turns.stuck:
            state, problem = "not answering", "Answers are asked for, and none goes on. Start the page again."
        return (state if self.gate.open else "ending"), problem

    def _ask_confinement(self) -> None:
        """Learns what the decoding processes have given up, from the first that starts."""
        while self.demo.is_running and self._confinement is None:
            try:
                self._confinement, self._no_worker = confinement(), ""
            except HmdbError as error:
                if not self._no_worker:
                    log.exception("No decoding process starts")
                self._no_worker = str(error)
                time.sleep(RETRY_SECONDS)

    def _keep_clean(self) -> None:
        while self.demo.is_running:
            time.sleep(min(self.settings.keep_seconds / 4, 30))
            FILES.sweep()
            report()
            for names in self.demo.temp_file_sets:
                names.clear()  # Gradio would remember the name of each file for good
            if not self.do.turns.under_way:
                give_back_memory()

    def close(self, seconds: float = GRACE_SECONDS) -> None:
        """Takes no new work, lets that which is under way end for so long, and takes the page down."""
        self.gate.open = False
        end = time.monotonic() + seconds
        while (self.do.turns.under_way or self.gate.num_sending) and time.monotonic() < end:
            time.sleep(0.05)
        self.demo.close(verbose=False)
