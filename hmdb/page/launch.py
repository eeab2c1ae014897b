"""Puts the page up, keeps it clean, and takes it down."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict
from typing import Any

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from hmdb.errors import HmdbError
from hmdb.machine import trim_malloc
from hmdb.page.server.drain import DrainState
from hmdb.page.server.error_reporting import install_log_filter
from hmdb.page.server.file_store import FILES
from hmdb.page.server.gradio_patches import forget_temp_files, wrap_running_server
from hmdb.page.server.metrics import report
from hmdb.page.server.middleware.client_address import ClientAddressMiddleware
from hmdb.page.server.middleware.monitoring import MonitoringMiddleware
from hmdb.page.server.middleware.request_guard import RequestGuardMiddleware
from hmdb.page.server.middleware.security_headers import SecurityHeadersMiddleware
from hmdb.page.service.page_blocks import PageBlocks
from hmdb.page.settings import Settings
from hmdb.page.views.assets import HEAD_HTML, PAGE_CSS
from hmdb.page.views.theme import THEME, TRANSLATIONS
from hmdb.video import Confinement, confinement

log = logging.getLogger(__name__)

MAX_SESSIONS = 64  # whose components Gradio remembers, at 0.6 MB each and 3 more where a camera was live
EXTRA_THREADS = 64  # threads for what needs no turn
GRACE_SECONDS = 25  # for answers that are under way when the page is taken down
RETRY_SECONDS = 30  # between attempts to start a decoding process


class PageServer:
    """A page that is up.

    Attributes:
        url: its address.
    """

    def __init__(self, demo: PageBlocks, settings: Settings, **options: Any) -> None:
        self.demo, self.settings = demo, settings
        self.do = demo.handlers
        self.drain = DrainState()
        self._confinement: Confinement | None = None
        self._no_worker = ""  # why not, where no decoding process starts
        install_log_filter()
        FILES.budget, FILES.keep_seconds = settings.disk_mb * 2**20, settings.keep_seconds
        FILES.mark_public()
        guard = Middleware(
            RequestGuardMiddleware,
            files=FILES,
            drain=self.drain,
            max_upload_bytes=settings.max_upload_mb * 2**20,
            rewrite_index=demo.links.with_meta_tags,
            local_url=lambda: demo.local_url or "",
        )
        _, self.url, _ = demo.launch(
            theme=THEME,
            css_paths=PAGE_CSS,
            head_paths=HEAD_HTML,
            i18n=TRANSLATIONS,
            max_file_size=f"{settings.max_upload_mb}mb",
            app_kwargs={"middleware": [guard]},
            state_session_capacity=MAX_SESSIONS,
            max_threads=settings.max_waiting + EXTRA_THREADS,
            show_error=False,
            run_history=False,
            enable_monitoring=False,
            mcp_server=True,
            prevent_thread_lock=True,
            _frontend=False,  # only leaves out a check of its own address, which a busy machine fails after 3 s
            **options,
        )
        wrap_running_server(demo, self._wrap, shutdown_seconds=2)
        threading.Thread(target=self._keep_clean, name="keep-clean", daemon=True).start()
        threading.Thread(target=self._ask_confinement, name="ask-confinement", daemon=True).start()

    def _wrap(self, app: ASGIApp) -> ASGIApp:
        """The server's app within the middleware that has to come before Gradio's own."""
        app = MonitoringMiddleware(app, health=self.health, metrics=self.settings.metrics)
        return ClientAddressMiddleware(SecurityHeadersMiddleware(app), trusted_proxies=self.settings.trusted_proxies)

    def health(self) -> dict[str, Any]:
        """How the page is, for whatever watches it; nothing of it waits for an answer or for a decoding process."""
        state, problem = self._state()
        return {
            "state": state,
            "problem": problem,
            "answers_under_way": self.do.scheduler.pending,
            "disk_bytes": FILES.used_bytes,
            "confinement": self._confinement and asdict(self._confinement),
        }

    def _state(self) -> tuple[str, str]:
        """The state, and what is wrong in words."""
        state, problem = self.do.state, ""
        if state == "failed":
            problem = "No model could be loaded."
        elif self._no_worker:
            state, problem = "failed", self._no_worker
        elif self.do.scheduler.stuck:
            state, problem = "not answering", "Answers are pending, and none makes progress. Restart the page."
        return (state if self.drain.open else "ending"), problem

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
            FILES.delete_expired()
            report()
            forget_temp_files(self.demo)
            if not self.do.scheduler.pending:
                trim_malloc()

    def close(self, seconds: float = GRACE_SECONDS) -> None:
        """Takes no new work, lets that which is under way end for so long, and takes the page down."""
        self.drain.open = False
        end = time.monotonic() + seconds
        while (self.do.scheduler.pending or self.drain.open_requests) and time.monotonic() < end:
            time.sleep(0.05)
        self.demo.close(verbose=False)
