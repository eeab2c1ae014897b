"""Launches the page, cleans up while it runs, and shuts it down."""

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
from hmdb.page.server.middleware.stream_order import StreamOrderMiddleware
from hmdb.page.service.page_blocks import PageBlocks
from hmdb.page.settings import Settings
from hmdb.page.views.assets import HEAD_HTML, PAGE_CSS
from hmdb.page.views.theme import THEME, TRANSLATIONS
from hmdb.video import Confinement, confinement

log = logging.getLogger(__name__)

MAX_GRADIO_SESSIONS = 64  # whose components Gradio keeps, at 0.6 MB each and 3 more after a live camera
EXTRA_THREADS = 64  # for events that the scheduler does not queue
GRACE_SECONDS = 25  # for pending answers when the page shuts down
UVICORN_GRACE_SECONDS = 2  # for open connections after that
CLEANUP_SECONDS = 30  # between cleanups, at most
RETRY_SECONDS = 30  # between attempts to start a decoding process


class PageServer:
    """The running page: it is launched by creating this.

    Args:
        options: further arguments of Gradio's `launch`, such as server_name and server_port.

    Attributes:
        url: the page's address.
    """

    def __init__(self, demo: PageBlocks, settings: Settings, **options: Any) -> None:
        self.demo, self.settings = demo, settings
        self.handlers = demo.handlers
        self.drain = DrainState()
        self._confinement: Confinement | None = None
        self._worker_error = ""  # the error of a decoding process that does not start
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
            app_kwargs={"middleware": [guard, Middleware(StreamOrderMiddleware)]},
            state_session_capacity=MAX_GRADIO_SESSIONS,
            max_threads=settings.max_waiting + EXTRA_THREADS,
            show_error=False,
            run_history=False,
            enable_monitoring=False,
            mcp_server=True,
            prevent_thread_lock=True,
            _frontend=False,  # skips Gradio's check of its own address, which fails on a busy machine after 3 s
            **options,
        )
        wrap_running_server(demo, self._wrap, shutdown_seconds=UVICORN_GRACE_SECONDS)
        threading.Thread(target=self._clean_up, name="clean-up", daemon=True).start()
        threading.Thread(target=self._learn_confinement, name="learn-confinement", daemon=True).start()

    def _wrap(self, app: ASGIApp) -> ASGIApp:
        """Gradio's app within the middleware that must come before Gradio's own."""
        app = MonitoringMiddleware(app, health=self.health, metrics=self.settings.metrics)
        return ClientAddressMiddleware(SecurityHeadersMiddleware(app), trusted_proxies=self.settings.trusted_proxies)

    def health(self) -> dict[str, Any]:
        """The state of the page, as /health reports it. Never blocks."""
        state, problem = self._state()
        return {
            "state": state,
            "problem": problem,
            "answers_under_way": self.handlers.scheduler.pending,
            "disk_bytes": FILES.used_bytes,
            "confinement": self._confinement and asdict(self._confinement),
        }

    def _state(self) -> tuple[str, str]:
        """The state, and the problem in words."""
        state, problem = self.handlers.state, ""
        if state == "failed":
            problem = "No model could be loaded."
        elif self._worker_error:
            state, problem = "failed", self._worker_error
        elif self.handlers.scheduler.stuck:
            state, problem = "not answering", "Answers are pending, and none makes progress. Restart the page."
        return (state if self.drain.accepts_work else "ending"), problem

    def _learn_confinement(self) -> None:
        """Stores the confinement of the decoding processes, which the first that starts reports; retries errors."""
        while self.demo.is_running and self._confinement is None:
            try:
                self._confinement, self._worker_error = confinement(), ""
            except HmdbError as error:
                if not self._worker_error:
                    log.exception("No decoding process could be started")
                self._worker_error = str(error)
                time.sleep(RETRY_SECONDS)

    def _clean_up(self) -> None:
        """Deletes expired files and frees memory from time to time."""
        while self.demo.is_running:
            time.sleep(min(self.settings.keep_seconds / 4, CLEANUP_SECONDS))
            FILES.delete_expired()
            report()
            forget_temp_files(self.demo)
            if not self.handlers.scheduler.pending:
                trim_malloc()

    def close(self, seconds: float = GRACE_SECONDS) -> None:
        """Refuses new work, waits up to `seconds` for pending answers, then shuts the page down."""
        self.drain.accepts_work = False
        deadline = time.monotonic() + seconds
        while (self.handlers.scheduler.pending or self.drain.open_requests) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.demo.close(verbose=False)
