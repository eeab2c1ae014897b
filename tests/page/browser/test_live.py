"""The Live tab in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from hmdb.recognizer import Recognizer
from tests.support.browser import bars, frames, headline, open_page, opened, tab

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
        panel.get_by_text("Click to Access Webcam").first.click()  # the only camera starts at once
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
            panel = tab(page, "Live")
            expect(headline(panel)).to_contain_text("Start your camera")
            expect(bars(panel)).to_have_count(0)
            expect(panel.locator("img.film, .camera img").locator("visible=true")).to_have_count(0)
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
        expect(headline(panel)).to_contain_text("No cameraThe browser does not let this page use the camera.")


PAINTED = """
navigator.mediaDevices.getUserMedia = async () => {
    const canvas = document.createElement("canvas"), paint = canvas.getContext("2d");
    [canvas.width, canvas.height] = [320, 240];
    let top = 0;
    setInterval(() => {
        paint.fillStyle = "red"; paint.fillRect(0, 0, 160, 240);
        paint.fillStyle = "blue"; paint.fillRect(160, 0, 160, 240);
        paint.fillStyle = "white"; paint.fillRect(140, top = (top + 20) % 240, 40, 40);
    }, 50);
    const stream = canvas.captureStream();
    stream.getVideoTracks()[0].getSettings = () => ({facingMode: "FACING"});
    return stream;
};
"""  # a camera that sees red on its left and blue on its right
LEFT_COLOUR = """image => {
    const canvas = document.createElement("canvas"), paint = canvas.getContext("2d");
    paint.drawImage(image, 0, 0);
    const [red, , blue] = paint.getImageData(8, 8, 1, 1).data;
    return red > blue ? "red" : "blue";
}"""


@pytest.mark.parametrize(("facing", "transform"), [("user", "matrix(-1, 0, 0, 1, 0, 0)"), ("environment", "none")])
@pytest.mark.parametrize("mode", ["Live", "Record a clip"])
def test_only_the_view_of_a_front_camera_is_mirrored(url: str, mode: str, facing: str, transform: str) -> None:
    with open_page(url) as (page, _):
        page.add_init_script(PAINTED.replace("FACING", facing))
        page.reload()
        panel = tab(page, "Live")
        panel.get_by_text(mode, exact=True).click()
        expect(headline(panel)).to_contain_text("Start your camera" if mode == "Live" else "Record a few seconds")
        panel.get_by_text("Click to Access Webcam").locator("visible=true").click()
        view = panel.get_by_test_id("webcam-video").locator("visible=true")
        expect(view).to_have_css("transform", transform)
        if mode == "Live":
            received = panel.locator("img.film")
        else:
            panel.get_by_text("Start", exact=True).locator("visible=true").click()
            page.wait_for_function(RECORDED, arg=page.evaluate(PLAYED))
            panel.get_by_text("Stop", exact=True).click()
            received = frames(panel).first
            expect(panel.locator(".player video").locator("visible=true")).to_have_css("transform", "none")
        expect(received).to_be_visible()
        assert received.evaluate(LEFT_COLOUR) == "red"
