"""The Video tab in a real browser."""

from __future__ import annotations

import dataclasses
import queue
import threading
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from hmdb.clips.clip import Clip
from hmdb.errors import StoppedError
from hmdb.page.layout import build_demo
from hmdb.page.tabs.video import OPENS_WITH
from hmdb.recognizer import Recognizer
from hmdb.text import action_name
from tests.page.conftest import CLIPS, EXAMPLES, SETTINGS, served
from tests.support.browser import bars, frames, headline, open_page, opened, serious, tab, upload
from tests.support.clips import moving_bar, write_mp4
from tests.support.waiting import LIMIT_SECONDS, wait_until

pytestmark = pytest.mark.browser


def test_an_example_is_answered_when_the_page_opens(url: str, recognizer: Recognizer) -> None:
    prediction = recognizer(EXAMPLES / f"{OPENS_WITH}.mp4")
    with open_page(url) as (page, watch):
        panel = opened(page)
        expect(headline(panel)).to_contain_text(action_name(prediction.label))
        expect(bars(panel)).to_have_count(5)
        expect(frames(panel)).to_have_count(8)
        page.wait_for_function("() => [...document.querySelectorAll('.why video')].some(v => !v.paused)")
        watch.check()


def test_an_upload_is_answered_without_a_click(url: str, video: Path, recognizer: Recognizer) -> None:
    prediction = recognizer(video)
    with open_page(url) as (page, watch):
        panel = opened(page)
        upload(panel, video)
        expect(panel.get_by_text("3.3 s, backwards")).to_be_visible()
        expect(panel.get_by_text("0.6 s", exact=True)).to_be_visible()
        expect(headline(panel)).to_contain_text(action_name(prediction.label))
        assert bars(panel).locator("dt").all_inner_texts() == list(map(action_name, prediction.labels))
        expect(panel.locator(".player video")).to_be_visible()
        expect(panel.locator(".examples .selected")).to_have_count(0)
        expect(panel.get_by_text(f"What speaks for “{action_name(prediction.label)}”", exact=True)).to_be_visible()
        watch.check()


def test_a_clicked_example_is_answered(url: str, recognizer: Recognizer) -> None:
    prediction = recognizer(CLIPS[0])
    with open_page(url) as (page, watch):
        panel = opened(page)
        panel.locator(".examples .thumbnail-item").first.click()
        expect(panel.locator(f".player video[src$='{CLIPS[0].name}']")).to_be_visible()
        expect(panel.locator(".examples .selected")).to_have_count(1)
        expect(headline(panel)).to_contain_text(action_name(prediction.label))
        expect(panel.get_by_text(f"What speaks for “{action_name(prediction.label)}”", exact=True)).to_be_visible()
        watch.check()


def test_a_click_on_a_bar_explains_its_label(url: str) -> None:
    with open_page(url) as (page, watch):
        panel = opened(page)
        film = panel.locator(".why video")
        before = film.get_attribute("src")
        second = bars(panel).nth(1)
        name = second.locator("dt").inner_text()
        second.press("Enter")
        expect(panel.get_by_text(f"What speaks for “{name}”", exact=True)).to_be_visible()
        expect(film).not_to_have_attribute("src", str(before))
        expect(panel.get_by_text("picture hidden")).to_be_visible()
        watch.check()


def test_a_click_on_a_frame_moves_the_player_there(url: str) -> None:
    with open_page(url) as (page, watch):
        panel = opened(page)
        moment = panel.locator(".pictures:not(.examples) .caption-label").nth(5).inner_text()
        panel.locator(".pictures:not(.examples) .thumbnail-item").nth(5).click()
        at = "() => [...document.querySelectorAll('.player video')].some(v => v.currentTime.toFixed(1) + ' s' === %r)"
        page.wait_for_function(at % moment)
        watch.check()


def test_the_walkthrough_is_shown_on_demand(url: str, video: Path, recognizer: Recognizer) -> None:
    prediction = recognizer(video)
    with open_page(url) as (page, watch):
        panel = opened(page)
        steps = panel.locator(".steps > li").locator("visible=true")
        upload(panel, video)
        expect(panel.get_by_text("3.3 s, backwards")).to_be_visible()
        expect(steps).to_have_count(0)
        panel.get_by_text("How it came to this answer").locator("visible=true").click()
        expect(steps).to_have_count(5)  # this checkpoint says nothing of how often it is right
        assert "3.3 s, backwards" in steps.nth(0).locator("figcaption").all_inner_texts()
        assert steps.nth(2).locator("i").count() == 8
        shares = [int(words.rstrip("%")) for words in steps.nth(2).locator("figcaption").all_inner_texts()]
        assert abs(sum(shares) - 100) <= 4
        assert steps.nth(4).locator("th").all_inner_texts() == list(map(action_name, prediction.labels))
        assert serious(page) == []
        assert page.evaluate("[...document.querySelectorAll('.steps img')].every(img => img.naturalWidth > 0)")
        panel.locator(".examples .thumbnail-item").first.click()
        expect(steps).to_have_count(0)
        watch.check()


def test_clearing_empties_everything(url: str) -> None:
    with open_page(url) as (page, watch):
        panel = opened(page)
        panel.get_by_role("button", name="Clear", exact=True).locator("visible=true").last.click()
        expect(headline(panel)).to_contain_text("Drop a short video")
        for gone in (bars(panel), frames(panel), panel.locator("video")):
            expect(gone).to_have_count(0)
        watch.check()


def test_a_new_video_empties_the_old_answer(recognizer: Recognizer, video: Path) -> None:
    gate = threading.Event()

    class Slow(Recognizer):
        def predict(self, *args: Any, **options: Any) -> Any:
            assert gate.wait(LIMIT_SECONDS)
            return super().predict(*args, **options)

    with served(build_demo(Slow(recognizer.loaded), settings=SETTINGS)) as url, open_page(url) as (page, _):
        panel = tab(page, "Video")
        gate.set()
        upload(panel, video)
        expect(bars(panel)).to_have_count(5)
        gate.clear()
        upload(panel, video)
        expect(bars(panel)).to_have_count(0)
        expect(headline(panel)).to_contain_text("Working on it")
        gate.set()
        expect(bars(panel)).to_have_count(5)


def test_a_file_that_browsers_do_not_play_gets_a_preview(url: str, tmp_path: Path) -> None:
    avi = write_mp4(tmp_path / "old.avi", moving_bar(30))
    with open_page(url) as (page, watch):
        panel = opened(page)
        upload(panel, avi)
        expect(panel.locator(".player video[src*='preview']")).to_be_visible()
        page.wait_for_function("() => [...document.querySelectorAll('.player video')].some(v => v.videoWidth > 0)")
        watch.check()


@pytest.mark.parametrize("name", ["Video", "Long video", "Compare"])
def test_a_bad_upload_shows_one_error_in_one_place(url: str, tmp_path: Path, name: str) -> None:
    path = tmp_path / "holiday.mp4"
    path.write_text("not a video")
    with open_page(url) as (page, _):
        panel = tab(page, name)
        for _ in range(2):
            upload(panel, path)
            expect(headline(panel)).to_contain_text("holiday.mp4")
            assert str(tmp_path.parent) not in panel.inner_text()
            expect(page.get_by_text("holiday.mp4")).to_have_count(1)
            expect(page.get_by_test_id("toast-body")).to_have_count(0)


def test_a_file_that_is_too_large_is_refused(url: str, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    path.write_bytes(bytes(1_200_000))
    with open_page(url) as (page, _):
        upload(tab(page, "Video"), path)
        expect(page.get_by_test_id("toast-body")).to_contain_text("maximum", ignore_case=True)


def test_a_cancelled_answer_ends_before_the_next_begins(recognizer: Recognizer, video: Path) -> None:
    running, most, ended = set[int](), [0], queue.Queue[str]()

    class Endless(Recognizer):
        def predict(self, clip: Clip, **options: Any) -> Any:
            running.add(threading.get_ident())
            most[0] = max(most[0], len(running))
            try:
                while True:
                    self.probabilities(clip)  # checks at each layer for cancellation
            except StoppedError as error:
                ended.put(str(error))
                raise
            finally:
                running.discard(threading.get_ident())

    settings = dataclasses.replace(SETTINGS, answer_timeout_seconds=3600)
    with served(build_demo(Endless(recognizer.loaded), settings=settings)) as url:
        for _ in range(3):
            with open_page(url) as (page, _):
                panel = tab(page, "Video")
                upload(panel, video)
                wait_until(lambda: bool(running))
                panel.get_by_role("button", name="Clear", exact=True).locator("visible=true").last.click()
                expect(headline(panel)).to_contain_text("Drop a short video")
                assert ended.get(timeout=LIMIT_SECONDS) == "Cancelled."
    assert most == [1]


def test_an_answer_may_be_none_of_the_actions(recognizer: Recognizer, video: Path) -> None:
    class Unsure(Recognizer):
        def predict(self, *args: Any, **options: Any) -> Any:
            return dataclasses.replace(super().predict(*args, **options), threshold=0.99)

    with served(build_demo(Unsure(recognizer.loaded), settings=SETTINGS)) as url, open_page(url) as (page, _):
        panel = tab(page, "Video")
        upload(panel, video)
        expect(headline(panel)).to_contain_text("None of the 25 actions")
        expect(panel.locator(".unsure .confidence-set")).to_have_count(5)


def test_labels_are_shown_as_text(recognizer: Recognizer, video: Path) -> None:
    wicked = tuple(f"<img src='http://203.0.113.9/{n}.png'>![x](http://203.0.113.9/{n})</details>" for n in range(25))
    loaded = dataclasses.replace(recognizer.loaded, labels=wicked)
    with served(build_demo(Recognizer(loaded), settings=SETTINGS)) as url, open_page(url) as (page, watch):
        for name in ("Video", "Long video", "Compare"):
            panel = tab(page, name)
            upload(panel, video)
            expect(headline(panel)).to_contain_text("203.0.113.9")
        page.get_by_text("The actions it knows").click()
        expect(page.get_by_text("203.0.113.9/24.png").first).to_be_visible()
        watch.check()
