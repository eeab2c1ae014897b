"""The Compare tab in a real browser."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from hmdb.page.layout import build_demo
from hmdb.recognizer import Recognizer
from tests.page.conftest import SETTINGS, served
from tests.support.browser import frames, open_page, tab
from tests.support.clips import moving_bar, write_mp4
from tests.support.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.browser


def test_two_videos_with_three_samplers_each(url: str, video: Path, tmp_path: Path) -> None:
    other = write_mp4(tmp_path / "other.mp4", moving_bar(40))
    with open_page(url) as (page, watch):
        panel = tab(page, "Compare")
        for number, path in enumerate((video, other)):
            panel.locator("input[type=file]").nth(number).set_input_files(path)
            expect(frames(panel)).to_have_count(24 * (number + 1))
        expect(panel.locator(".runs tr")).to_have_count(6)
        watch.check()


def test_both_videos_can_be_pending(recognizer: Recognizer, video: Path) -> None:
    gate = threading.Event()

    class Slow(Recognizer):
        def predict(self, *args: Any, **options: Any) -> Any:
            assert gate.wait(LIMIT_SECONDS)
            return super().predict(*args, **options)

    with served(build_demo(Slow(recognizer.loaded), settings=SETTINGS)) as url, open_page(url) as (page, watch):
        panel = tab(page, "Compare")
        for number in range(2):
            panel.locator("input[type=file]").nth(number).set_input_files(video)
            expect(panel.get_by_text("Working on it")).to_have_count(number + 1)
        gate.set()
        expect(panel.locator(".runs tr")).to_have_count(6)
        watch.check()
