"""The Long video tab in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import expect

from hmdb.page.layout import build_demo
from hmdb.recognizer import Recognizer
from hmdb.results import Timeline
from tests.page.conftest import SETTINGS, served
from tests.support.browser import headline, open_page, tab, upload
from tests.support.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.browser


def test_a_long_video_becomes_a_timeline_with_files(url: str, long_clip: Path) -> None:
    with open_page(url) as (page, watch):
        panel = tab(page, "Long video")
        upload(panel, long_clip)
        expect(panel.get_by_text("Classified 13 of 13 pieces.")).to_be_visible()
        for kind in ("JSON", "CSV", "SRT"):
            with page.expect_download() as download:
                panel.get_by_role("button", name=re.compile(f"⬇.*{kind}")).click()
            assert download.value.suggested_filename == f"long.{kind.lower()}"
        last = panel.locator(".parts button").last
        start = float(str(last.get_attribute("data-start")))
        last.click()
        at = (
            "start => [...document.querySelectorAll('.player video')].some(v => Math.abs(v.currentTime - start) < 0.05)"
        )
        page.wait_for_function(at, arg=start)
        assert page.evaluate("[...document.querySelectorAll('.player track')].some(track => track.src.includes('vtt'))")
        watch.check()


def test_a_slow_browser_gets_the_final_update(url: str, long_clip: Path) -> None:
    with open_page(url) as (page, _):
        panel = tab(page, "Long video")
        page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 8})
        upload(panel, long_clip)
        expect(panel.get_by_text("Classified 13 of 13 pieces.")).to_be_visible()
        expect(panel.get_by_role("button", name=re.compile("⬇.*JSON"))).to_be_visible()


def test_a_long_video_can_be_stopped(recognizer: Recognizer, long_clip: Path, video: Path) -> None:
    go_on, ended = threading.Event(), threading.Event()
    steps: list[int] = []

    class Paused(Recognizer):
        def iter_timeline(self, *args: Any, **options: Any) -> Generator[Timeline]:
            try:
                for timeline in super().iter_timeline(*args, **options):
                    steps.append(len(timeline.answers))
                    yield timeline
                    assert go_on.wait(LIMIT_SECONDS)
            finally:
                ended.set()

    with served(build_demo(Paused(recognizer.loaded), settings=SETTINGS)) as url, open_page(url) as (page, watch):
        panel = tab(page, "Long video")
        upload(panel, long_clip)
        expect(panel.get_by_text("Classified 4 of 13 pieces.")).to_be_visible()
        panel.get_by_role("button", name="Stop").click()
        expect(headline(panel)).to_contain_text("Stopped")
        go_on.set()
        assert ended.wait(LIMIT_SECONDS)
        watch.wait_idle(page)
        assert steps == [4]
        expect(headline(panel)).to_contain_text("Stopped")
        expect(panel.locator(".parts button").first).to_be_visible()
        client = Client(url, verbose=False)  # the next visitor's turn comes
        assert client.predict(handle_file(video), api_name="/predict")[0]["label"]
        client.close()
