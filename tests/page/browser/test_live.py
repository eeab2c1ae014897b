"""The Live tab in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from hmdb.recognizer import Recognizer
from tests.support.browser import bars, frames, open_page, opened, tab

pytestmark = pytest.mark.browser


PLAYED = "Math.max(...[...document.querySelectorAll('video')].map(v => v.currentTime))"
RECORDED = "start => [...document.querySelectorAll('video')].some(v => v.currentTime > start + 1.5)"
TEN_PICTURES_LATER = """new Promise(done => {
    let ticks = 0;
    const timer = setInterval(() => ++ticks === 10 && (clearInterval(timer), done()), 200);
})"""  # by the browser's own timers, which also time the pictures


def test_a_recording_is_answered(url: str) -> None:
    with open_page(url) as (page, watch):
        panel = tab(page, "Live")
        panel.get_by_text("Record a clip").click()
        expect(panel.get_by_text("Record a few seconds of yourself")).to_be_visible()
        panel.get_by_text("Click to Access Webcam").last.click()
        page.wait_for_function("() => [...document.querySelectorAll('video')].some(v => v.videoWidth > 0)")
        panel.get_by_text("Start", exact=True).last.click()
        page.wait_for_function(RECORDED, arg=page.evaluate(PLAYED))
        panel.get_by_text("Stop", exact=True).click()
        expect(frames(panel)).to_have_count(8)
        expect(bars(panel)).to_have_count(5)
        length = panel.locator(".player").get_by_text(re.compile(r"0:00 / \d+:\d\d$"))  # Chrome's recordings lack it
        expect(length.last).to_be_visible()
        watch.check()


def test_live_answers_go_on_and_leave_no_file(url: str, recognizer: Recognizer) -> None:
    from gradio.utils import get_upload_folder

    with open_page(url) as (page, watch):
        opened(page)
        panel = tab(page, "Live")
        before = set(Path(get_upload_folder()).rglob("*"))
        panel.get_by_text("Click to Access Webcam").first.click()
        panel.get_by_role("button", name="capture photo").click()
        expect(bars(panel)).to_have_count(5)
        strip = panel.locator("img.film")
        shown = set[str]()
        for _ in range(3):
            shown.add(str(strip.get_attribute("src")))
            expect(strip).not_to_have_attribute("src", str(strip.get_attribute("src")))
        assert len(shown) == 3
        assert set(Path(get_upload_folder()).rglob("*")) == before
        watch.check()


TRACKS = """
window.tracks = [];
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async wanted => {
    const stream = await ask(wanted);
    tracks.push(...stream.getTracks());
    return stream;
};
"""  # of every camera and microphone that was opened


def tracked(page: Page) -> None:
    """The page once more, with its tracks known."""
    page.add_init_script(TRACKS)
    page.reload()


def start_live(page: Page) -> Locator:
    """The tab Live, once its camera's pictures are answered."""
    panel = tab(page, "Live")
    before = page.evaluate("document.querySelector('.film')?.src ?? ''")
    panel.get_by_text("Click to Access Webcam").locator("visible=true").click()
    panel.get_by_role("button", name="capture photo").click()
    page.wait_for_function("src => (document.querySelector('.film')?.src ?? src) !== src", arg=before)
    return panel


@pytest.mark.parametrize("way", ["Video", "Long video", "Compare", "Stop"])
def test_leaving_and_stopping_release_the_camera(url: str, way: str) -> None:
    sent = list[str]()
    with open_page(url) as (page, watch):
        tracked(page)
        page.on("request", lambda request: sent.append(request.url))
        for _ in range(2):  # it can be started anew
            panel = start_live(page)
            if way == "Stop":
                panel.get_by_text("Stop", exact=True).locator("visible=true").click()
            else:
                tab(page, way)
            page.wait_for_function("tracks.every(track => track.readyState === 'ended')")
            sent.clear()
            page.evaluate(TEN_PICTURES_LATER)
            assert [url for url in sent if "/stream/" in url] == []
        assert page.evaluate("tracks.length") == 2
        watch.check()


def test_leaving_the_tab_releases_the_recorders_camera(url: str) -> None:
    with open_page(url) as (page, watch):
        tracked(page)
        panel = tab(page, "Live")
        panel.get_by_text("Record a clip").click()
        panel.get_by_text("Click to Access Webcam").locator("visible=true").last.click()
        page.wait_for_function("tracks.length > 0")
        tab(page, "Video")
        page.wait_for_function("tracks.every(track => track.readyState === 'ended')")
        tab(page, "Live")
        expect(panel.get_by_text("Record a few seconds of yourself")).to_be_visible()
        watch.check()


def test_a_camera_that_nothing_shows_is_stopped(url: str) -> None:
    with open_page(url) as (page, _):
        page.wait_for_function("typeof isShown === 'function'")  # of the page's own script
        page.evaluate("navigator.mediaDevices.getUserMedia({video: true}).then(stream => {window.opened = stream})")
        page.wait_for_function("window.opened && !opened.active")


def test_a_camera_that_is_refused_is_explained(url: str) -> None:
    with open_page(url) as (page, _):
        page.add_init_script(
            "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))"
        )
        page.reload()
        panel = tab(page, "Live")
        panel.get_by_text("Click to Access Webcam").first.click()
        expect(panel.get_by_text("The browser does not let this page use the camera")).to_be_visible()
