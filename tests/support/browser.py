"""A real Chromium, watched: what it asks of other hosts and what its console complains of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HARMLESS = ("reading 'indexOf'",)  # Gradio says so when a video example is clicked


@dataclass
class ConsoleWatch:
    """What a page did that it should not: requests to other hosts, errors."""

    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def check(self) -> None:
        assert self.outside == []
        assert [error for error in self.errors if not any(known in error for known in HARMLESS)] == []


def chromium() -> str | None:
    """The path of a Chromium, the system's or Playwright's own; without one the test is skipped, or fails in CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    with sync_playwright() as playwright:
        if Path(playwright.chromium.executable_path).exists():
            return None
    reason = "there is no Chromium on this machine; `make browser` tries to install one"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def open_page(url: str, *, width: int = 1400, height: int = 1000) -> Iterator[tuple[Page, ConsoleWatch]]:
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        page = browser.new_page(viewport={"width": width, "height": height})
        watch = ConsoleWatch()
        page.on("pageerror", lambda error: watch.errors.append(str(error)))
        page.on("console", lambda message: watch.errors.append(message.text) if message.type == "error" else None)
        page.on(
            "response",
            lambda answer: watch.errors.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
        )
        page.on("request", lambda request: None if local(request.url) else watch.outside.append(request.url))
        page.goto(url)
        yield page, watch
        browser.close()


def local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1", "http://localhost", "ws://127.0.0.1", "data:", "blob:"))
