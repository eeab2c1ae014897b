"""/health and /metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hmdb.page.server.metrics import DISK, PENDING, report

UNHEALTHY = ("failed", "not answering")  # states, which /health answers with 503


class MonitoringMiddleware:
    """Answers /health and /metrics outside of Gradio, so that a busy page does not starve its health checks.

    A health check that goes unanswered gets a working page killed.

    Args:
        health: the JSON of /health; called on the event loop, so it must not block.
        metrics: answers /metrics too, in Prometheus's format.
    """

    def __init__(self, app: ASGIApp, *, health: Callable[[], dict[str, Any]], metrics: bool) -> None:
        self.app = app
        self._health, self._metrics = health, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope.get("path"):
            case "/health" if scope["type"] == "http":
                health = self._health()
                await JSONResponse(health, 503 if health["state"] in UNHEALTHY else 200)(scope, receive, send)
            case "/metrics" if scope["type"] == "http" and self._metrics:
                report()
                health = self._health()
                PENDING.set(health["answers_under_way"])
                DISK.set(health["disk_bytes"])
                await Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)(scope, receive, send)
            case _:
                await self.app(scope, receive, send)
