"""A real Chromium whose requests and console are watched, and the parts of the page in it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, Request, expect, sync_playwright

from tests.support.waiting import LIMIT_SECONDS

TABS = ("Live", "Video", "Long video", "Compare")
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
HARMLESS = (
    "reading 'indexOf'",  # Gradio says so when a video example is clicked
    "The play() request was interrupted because the media was removed",  # Chromium, of a tab left while a video starts
)

expect.set_options(timeout=1000 * LIMIT_SECONDS)


@dataclass
class ConsoleWatch:
    """Requests of a page to other hosts, its errors, and the streams of answers that are still open."""

    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    streams: set[Request] = field(default_factory=set)

    def on_request(self, request: Request) -> None:
        if not local(request.url):
            self.outside.append(request.url)
        if "/queue/data" in request.url:
            self.streams.add(request)

    def wait_idle(self, page: Page) -> None:
        """Waits until no answer is in progress."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while self.streams:
            assert time.monotonic() < deadline, "an answer never ends"
            page.wait_for_timeout(50)  # also lets events through

    def check(self) -> None:
        assert self.outside == []
        assert [error for error in self.errors if not any(known in error for known in HARMLESS)] == []


def chromium() -> str | None:
    """Returns the path of the system's Chromium, or None for Playwright's own.

    Without either the test is skipped, or fails in CI.
    """
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
        page.set_default_timeout(1000 * LIMIT_SECONDS)
        watch = ConsoleWatch()
        page.on("pageerror", lambda error: watch.errors.append(str(error)))
        page.on("console", lambda message: watch.errors.append(message.text) if message.type == "error" else None)
        page.on(
            "response",
            lambda answer: watch.errors.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None,
        )
        page.on("request", watch.on_request)
        page.on("requestfinished", lambda request: watch.streams.discard(request))
        page.on("requestfailed", lambda request: watch.streams.discard(request))
        page.goto(url)
        yield page, watch
        browser.close()


def local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1", "http://localhost", "ws://127.0.0.1", "data:", "blob:"))


def tab(page: Page, name: str) -> Locator:
    """Opens a tab and returns its panel."""
    page.get_by_role("tab", name=name, exact=True).click()
    return page.get_by_role("tabpanel").locator("visible=true").first


def upload(panel: Locator, path: Path) -> None:
    panel.locator("input[type=file]").first.set_input_files(path)


def frames(panel: Locator) -> Locator:
    return panel.locator(".pictures:not(.examples) .thumbnail-item img").locator("visible=true")


def headline(panel: Locator) -> Locator:
    return panel.locator(".headline").locator("visible=true").first


def bars(panel: Locator) -> Locator:
    return panel.locator(".confidence-set").locator("visible=true")


def opened(page: Page) -> Locator:
    """Returns the panel of the Video tab once its first example is fully answered."""
    panel = tab(page, "Video")
    expect(panel.get_by_text("picture hidden")).to_be_visible()
    return panel


def serious(page: Page) -> list[tuple[str, list[str]]]:
    """Returns the serious accessibility violations and their elements, once nothing loads or fades."""
    expect(page.get_by_label("Empty value").locator("visible=true")).to_have_count(0)
    page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    page.wait_for_function(
        "document.getAnimations().every(a => a.playState !== 'running' || a.effect.getComputedTiming().endTime > 1e6)"
    )
    violations = Axe().run(page).response["violations"]
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in violations
        if each["impact"] in ("serious", "critical")
    ]
