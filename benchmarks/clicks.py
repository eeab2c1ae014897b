"""Clicks and seconds to an answer: `python -m benchmarks.clicks` opens the running page in Chromium as a visitor.

For each way to an answer it prints the clicks from the opened page (choosing a file counts as one) and the seconds from
the last of them to the headline.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

from benchmarks.clips import write_clip
from benchmarks.space import running

FLAGS = ("--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
WAIT = 120_000  # milliseconds


class Visit:
    """A visitor who counts."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0
        self.last = time.perf_counter()

    def panel(self) -> Locator:
        return self.page.get_by_role("tabpanel").locator("visible=true").first

    def click(self, what: Locator) -> None:
        what.click(timeout=WAIT)
        self._counted()

    def tab(self, name: str) -> None:
        self.click(self.page.get_by_role("tab", name=name, exact=True))

    def choose(self, video: Path) -> None:
        self.panel().locator("input[type=file]").first.set_input_files(video, timeout=WAIT)
        self._counted()

    def _counted(self) -> None:
        self.clicks += 1
        self.last = time.perf_counter()


def opened(visit: Visit, _: Path) -> Locator:
    visit.tab("Video")
    return visit.panel().locator(".confidence-set").first


def example(visit: Visit, _: Path) -> Locator:
    visit.tab("Video")
    visit.panel().locator(".confidence-set").first.wait_for(timeout=WAIT)
    visit.click(visit.panel().locator(".examples .thumbnail-item").nth(1))
    return visit.panel().locator(".headline strong", has_text="golf")


def own(visit: Visit, video: Path) -> Locator:
    visit.tab("Video")
    visit.panel().get_by_text("picture hidden").wait_for(timeout=WAIT)
    visit.choose(video)
    visit.panel().locator(".headline", has_text="Working on it").wait_for(timeout=WAIT)
    return visit.panel().locator(".confidence-set").locator("visible=true").first


def live(visit: Visit, _: Path) -> Locator:
    visit.click(visit.panel().get_by_text("Click to Access Webcam").first)
    visit.click(visit.page.get_by_role("button", name="capture photo"))
    return visit.panel().locator(".confidence-set").first


def long(visit: Visit, video: Path) -> Locator:
    visit.tab("Long video")
    visit.choose(video)
    return visit.panel().locator(".timeline")


def compare(visit: Visit, video: Path) -> Locator:
    visit.tab("Compare")
    visit.choose(video)
    return visit.panel().locator(".runs tr").first


WAYS: dict[str, Callable[[Visit, Path], Locator]] = {
    "the example that the page opens with": opened,
    "another example": example,
    "a video of one's own": own,
    "the camera, live": live,
    "a long video": long,
    "one video compared": compare,
}


@contextmanager
def new_page(url: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(url)
        page.get_by_role("tab").first.wait_for()
        yield page
        browser.close()


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, running() as app:
        video = write_clip(Path(folder) / "clip.mp4")
        with new_page(app.url) as page:  # the model loads, and the opening example is answered once for all
            opened(Visit(page), video).wait_for(timeout=WAIT)
        print(f"load {os.getloadavg()[0]:.1f}\n\n| way | clicks | seconds |\n|---|---:|---:|")
        for name, way in WAYS.items():
            with new_page(app.url) as page:
                visit = Visit(page)
                way(visit, video).wait_for(timeout=WAIT)
                print(f"| {name} | {visit.clicks} | {time.perf_counter() - visit.last:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
