"""The page in a real browser."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from gradio_client import Client, handle_file
from playwright.sync_api import Locator, Page, expect

from hmdb.page.layout import build_demo
from hmdb.page.service.model_loader import BackgroundModel
from hmdb.page.tabs.video import OPENS_WITH
from hmdb.recognizer import Recognizer
from hmdb.results import Timeline
from hmdb.text import label_words
from tests.page.conftest import CLIPS, EXAMPLES, SETTINGS, served
from tests.support.browser import open_page
from tests.support.clips import moving_bar, write_mp4

pytestmark = pytest.mark.browser
TABS = ("Live", "Video", "Long video", "Compare")


def tab(page: Page, name: str) -> Locator:
    """The panel of a tab, once it is shown."""
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
    """The tab of single videos, once its first example is answered to the end."""
    panel = tab(page, "Video")
    expect(panel.get_by_text("picture hidden")).to_be_visible(timeout=60_000)
    return panel


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# One video


def test_an_example_is_answered_when_the_page_opens(url: str, recognizer: Recognizer) -> None:
    prediction = recognizer(EXAMPLES / f"{OPENS_WITH}.mp4")
    with open_page(url) as (page, watch):
        panel = opened(page)
        expect(headline(panel)).to_contain_text(label_words(prediction.label))
        expect(bars(panel)).to_have_count(5)
        expect(frames(panel)).to_have_count(8)
        page.wait_for_function("() => [...document.querySelectorAll('.why video')].some(v => !v.paused)")
        watch.check()


def test_a_video_is_answered_as_soon_as_it_is_there(url: str, video: Path, recognizer: Recognizer) -> None:
    prediction = recognizer(video)
    with open_page(url) as (page, watch):
        panel = opened(page)
        upload(panel, video)
        expect(panel.get_by_text("3.3 s, backwards")).to_be_visible(timeout=30_000)
        expect(panel.get_by_text("0.6 s", exact=True)).to_be_visible()
        expect(headline(panel)).to_contain_text(label_words(prediction.label))
        assert bars(panel).locator("dt").all_inner_texts() == list(map(label_words, prediction.labels))
        expect(panel.locator(".player video")).to_be_visible()
        expect(panel.locator(".examples .selected")).to_have_count(0)
        expect(panel.get_by_text(f"What speaks for “{label_words(prediction.label)}”", exact=True)).to_be_visible(
            timeout=30_000
        )
        watch.check()


def test_an_example_is_one_click_away(url: str, recognizer: Recognizer) -> None:
    prediction = recognizer(CLIPS[0])
    with open_page(url) as (page, watch):
        panel = opened(page)
        panel.locator(".examples .thumbnail-item").first.click()
        expect(panel.locator(f".player video[src$='{CLIPS[0].name}']")).to_be_visible()
        expect(panel.locator(".examples .selected")).to_have_count(1)
        expect(headline(panel)).to_contain_text(label_words(prediction.label), timeout=30_000)
        expect(panel.get_by_text(f"What speaks for “{label_words(prediction.label)}”", exact=True)).to_be_visible(
            timeout=30_000
        )
        watch.check()


def test_a_click_on_a_bar_shows_what_speaks_for_it(url: str) -> None:
    with open_page(url) as (page, watch):
        panel = opened(page)
        film = panel.locator(".why video")
        before = film.get_attribute("src")
        second = bars(panel).nth(1)
        name = second.locator("dt").inner_text()
        second.press("Enter")
        expect(panel.get_by_text(f"What speaks for “{name}”", exact=True)).to_be_visible(timeout=30_000)
        expect(film).not_to_have_attribute("src", str(before))
        expect(panel.get_by_text("picture hidden")).to_be_visible(timeout=30_000)
        watch.check()


def test_a_click_on_a_frame_moves_the_player_there(url: str) -> None:
    with open_page(url) as (page, watch):
        panel = opened(page)
        moment = panel.locator(".pictures:not(.examples) .caption-label").nth(5).inner_text()
        panel.locator(".pictures:not(.examples) .thumbnail-item").nth(5).click()
        at = "() => [...document.querySelectorAll('.player video')].some(v => v.currentTime.toFixed(1) + ' s' === %r)"
        page.wait_for_function(at % moment)
        watch.check()


def test_the_steps_to_an_answer_are_told_when_asked_for(url: str, video: Path, recognizer: Recognizer) -> None:
    prediction = recognizer(video)
    with open_page(url) as (page, watch):
        panel = opened(page)
        steps = panel.locator(".steps > li").locator("visible=true")
        upload(panel, video)
        expect(panel.get_by_text("3.3 s, backwards")).to_be_visible(timeout=30_000)
        expect(steps).to_have_count(0)
        panel.get_by_text("How it came to this answer").locator("visible=true").click()
        expect(steps).to_have_count(5, timeout=30_000)  # this checkpoint says nothing of how often it is right
        assert "3.3 s, backwards" in steps.nth(0).locator("figcaption").all_inner_texts()
        assert steps.nth(2).locator("i").count() == 8
        shares = [int(words.rstrip("%")) for words in steps.nth(2).locator("figcaption").all_inner_texts()]
        assert abs(sum(shares) - 100) <= 4
        assert steps.nth(4).locator("th").all_inner_texts() == list(map(label_words, prediction.labels))
        page.wait_for_timeout(500)
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


def test_a_new_video_empties_the_old_answer_at_once(recognizer: Recognizer, video: Path) -> None:
    gate = threading.Event()

    class Slow(Recognizer):
        def predict(self, *args: Any, **options: Any) -> Any:
            assert gate.wait(60)
            return super().predict(*args, **options)

    with served(build_demo(Slow(recognizer.loaded), settings=SETTINGS)) as url, open_page(url) as (page, _):
        panel = tab(page, "Video")
        gate.set()
        upload(panel, video)
        expect(bars(panel)).to_have_count(5, timeout=30_000)
        gate.clear()
        upload(panel, video)
        expect(bars(panel)).to_have_count(0)
        expect(headline(panel)).to_contain_text("Working on it")
        gate.set()
        expect(bars(panel)).to_have_count(5, timeout=30_000)


def test_a_file_that_browsers_do_not_play_gets_a_preview(url: str, tmp_path: Path) -> None:
    avi = write_mp4(tmp_path / "old.avi", moving_bar(30))
    with open_page(url) as (page, watch):
        panel = opened(page)
        upload(panel, avi)
        expect(panel.locator(".player video[src*='preview']")).to_be_visible(timeout=30_000)
        page.wait_for_function("() => [...document.querySelectorAll('.player video')].some(v => v.videoWidth > 0)")
        watch.check()


@pytest.mark.parametrize("name", ["Video", "Long video", "Compare"])
def test_a_bad_upload_gets_one_clear_line_in_one_place(url: str, tmp_path: Path, name: str) -> None:
    path = tmp_path / "holiday.mp4"
    path.write_text("not a video")
    with open_page(url) as (page, _):
        panel = tab(page, name)
        for _ in range(2):
            upload(panel, path)
            expect(headline(panel)).to_contain_text("holiday.mp4", timeout=30_000)
            assert str(tmp_path.parent) not in panel.inner_text()
            expect(page.get_by_text("holiday.mp4")).to_have_count(1)
            expect(page.get_by_test_id("toast-body")).to_have_count(0)


def test_a_file_that_is_too_large_is_refused(url: str, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    path.write_bytes(bytes(1_200_000))
    with open_page(url) as (page, _):
        upload(tab(page, "Video"), path)
        expect(page.get_by_test_id("toast-body")).to_contain_text("maximum", ignore_case=True)


def test_a_cancelled_answer_ends_and_never_two_run_at_once(recognizer: Recognizer, video: Path) -> None:
    running, most, ended = set[int](), [0], threading.Semaphore(0)

    class Slow(Recognizer):
        def predict(self, *args: Any, **options: Any) -> Any:
            running.add(threading.get_ident())
            most[0] = max(most[0], len(running))
            try:
                for _ in range(100):
                    self.probabilities(*args)  # which asks, at each layer, whether to go on
                    time.sleep(0.1)
                return super().predict(*args, **options)
            finally:
                running.discard(threading.get_ident())
                ended.release()

    with served(build_demo(Slow(recognizer.loaded), settings=SETTINGS)) as url:
        began = time.monotonic()
        for _ in range(3):
            with open_page(url) as (page, _):
                panel = tab(page, "Video")
                upload(panel, video)
                wait_until(lambda: bool(running))
                panel.get_by_role("button", name="Clear", exact=True).locator("visible=true").last.click()
                expect(headline(panel)).to_contain_text("Drop a short video")
                assert ended.acquire(timeout=5)
        assert time.monotonic() - began < 30  # three answers of 10 s each would take longer
    assert most == [1]


def test_an_answer_may_be_none_of_the_actions(recognizer: Recognizer, video: Path) -> None:
    class Unsure(Recognizer):
        def predict(self, *args: Any, **options: Any) -> Any:
            return dataclasses.replace(super().predict(*args, **options), threshold=0.99)

    with served(build_demo(Unsure(recognizer.loaded), settings=SETTINGS)) as url, open_page(url) as (page, _):
        panel = tab(page, "Video")
        upload(panel, video)
        expect(headline(panel)).to_contain_text("None of the 25 actions", timeout=30_000)
        expect(panel.locator(".unsure .confidence-set")).to_have_count(5)


def test_a_label_is_text_and_nothing_else(recognizer: Recognizer, video: Path) -> None:
    wicked = tuple(f"<img src='http://203.0.113.9/{n}.png'>![x](http://203.0.113.9/{n})</details>" for n in range(25))
    loaded = dataclasses.replace(recognizer.loaded, labels=wicked)
    with served(build_demo(Recognizer(loaded), settings=SETTINGS)) as url, open_page(url) as (page, watch):
        for name in ("Video", "Long video", "Compare"):
            panel = tab(page, name)
            upload(panel, video)
            expect(headline(panel)).to_contain_text("203.0.113.9", timeout=30_000)
        page.get_by_text("The actions it knows").click()
        expect(page.get_by_text("203.0.113.9/24.png").first).to_be_visible()
        watch.check()


# The page as a whole


def test_a_link_opens_with_its_example(url: str, recognizer: Recognizer) -> None:
    with open_page(f"{url}?example=golf") as (page, watch):
        panel = page.get_by_role("tabpanel").locator("visible=true").first
        expect(panel.locator(".player video[src$='golf.mp4']")).to_be_visible(timeout=30_000)
        expect(headline(panel)).to_contain_text(label_words(recognizer(EXAMPLES / "golf.mp4").label), timeout=30_000)
        panel.locator(".examples .thumbnail-item").first.click()
        link = panel.get_by_role("link", name="a link to this example")
        expect(link).to_have_attribute("href", f"?example={CLIPS[0].stem}")
        expect(panel.get_by_text("picture hidden")).to_be_visible(timeout=60_000)
        page.wait_for_timeout(1000)  # the end of an answer comes behind its last words, and would be broken off
        link.click()
        expect(panel.locator(f".player video[src$='{CLIPS[0].name}']")).to_be_visible(timeout=30_000)
        assert page.url.endswith(f"?example={CLIPS[0].stem}")
        expect(panel.get_by_text("picture hidden")).to_be_visible(timeout=60_000)
        watch.check()


def test_an_address_names_no_example_but_the_one_that_is_shown(url: str, video: Path) -> None:
    with open_page(f"{url}?__theme=light&example=golf") as (page, watch):
        panel = opened(page)
        assert page.url == f"{url}?__theme=light&example=golf"
        panel.locator(".examples .thumbnail-item").first.click()
        page.wait_for_url(f"{url}?__theme=light&example={CLIPS[0].stem}")
        upload(panel, video)
        page.wait_for_url(f"{url}?__theme=light")
        watch.check()


def test_a_link_with_a_wrong_name_opens_the_page(url: str) -> None:
    with open_page(f"{url}?example=juggling") as (page, watch):
        expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
        expect(opened(page).locator(f".player video[src$='{OPENS_WITH}.mp4']")).to_be_visible()
        watch.check()


def test_the_page_is_up_before_the_model_and_says_so(recognizer: Recognizer) -> None:
    gate = threading.Event()

    def slow() -> Recognizer:
        assert gate.wait(60)
        return recognizer

    with served(build_demo(BackgroundModel(slow), settings=SETTINGS)) as url, open_page(url) as (page, _):
        page.get_by_text("The actions it knows").click()
        expect(page.get_by_text("Loading the model")).to_be_visible()
        gate.set()
        expect(page.get_by_text("Answers come from tiny, which knows 25 actions.")).to_be_visible()


@pytest.mark.parametrize("name", TABS)
def test_on_a_phone_nothing_is_wider_than_the_screen(url: str, video: Path, name: str) -> None:
    with open_page(url, width=390, height=844) as (page, _):
        panel = tab(page, name)
        if name != "Live":
            upload(panel, video)
            expect(headline(panel).locator("strong")).to_have_text(re.compile("[a-z]"), timeout=30_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_on_a_phone_the_answer_is_seen_without_scrolling(url: str, video: Path) -> None:
    with open_page(url, width=390, height=844) as (page, _):
        panel = opened(page)
        panel.locator(".examples .thumbnail-item").nth(1).click()
        expect(bars(panel)).to_have_count(5, timeout=30_000)
        assert page.evaluate("scrollY") == 0
        for seen in (panel.locator(".player video"), headline(panel), bars(panel).first):
            expect(seen).to_be_in_viewport(ratio=0.9)


def test_on_a_phone_only_the_line_under_the_title_is_left_out(url: str) -> None:
    with open_page(url, width=390, height=844) as (page, _):
        expect(page.get_by_text("Show it a short video, or yourself")).to_be_hidden()
        page.get_by_text("The actions it knows").click()
        expect(page.get_by_text("Answers come from tiny, which knows 25 actions.")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(url: str, video: Path, theme: str) -> None:
    with open_page(f"{url}?__theme={theme}") as (page, _):
        for name in TABS:
            panel = opened(page) if name == "Video" else tab(page, name)
            page.wait_for_timeout(500)  # colours fade in
            assert serious(page) == []
            if name == "Video":
                panel.locator(".examples .thumbnail-item").first.click()
                expect(panel.get_by_text("a link to this example")).to_be_visible()
                page.mouse.move(0, 0)
                page.wait_for_timeout(500)
                assert serious(page) == []
            if name != "Live":
                upload(panel, video)
                expect(headline(panel).locator("strong")).to_have_text(re.compile("[a-z]"), timeout=30_000)
                page.wait_for_timeout(500)
                assert serious(page) == []


def serious(page: Page) -> list[tuple[str, list[str]]]:
    """The rules that are broken, and by what, once no component waits for its value."""
    expect(page.get_by_label("Empty value").locator("visible=true")).to_have_count(0)
    found = Axe().run(page, options={"rules": {rule: {"enabled": False} for rule in GRADIOS}}).response["violations"]
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


GRADIOS: tuple[str, ...] = ()  # rules that Gradio's own components break


# Long videos


def test_a_long_video_becomes_a_timeline_with_files(url: str, long_clip: Path) -> None:
    with open_page(url) as (page, watch):
        panel = tab(page, "Long video")
        upload(panel, long_clip)
        expect(panel.get_by_text("Classified 11 of 11 pieces.")).to_be_visible(timeout=60_000)
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


def test_a_slow_browser_misses_nothing(url: str, long_clip: Path) -> None:
    with open_page(url) as (page, _):
        panel = tab(page, "Long video")
        page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 8})
        upload(panel, long_clip)
        expect(panel.get_by_text("Classified 11 of 11 pieces.")).to_be_visible(timeout=60_000)
        expect(panel.get_by_role("button", name=re.compile("⬇.*JSON"))).to_be_visible(timeout=20_000)


def test_a_long_video_can_be_stopped(recognizer: Recognizer, long_clip: Path, video: Path) -> None:
    steps: list[float] = []

    class Slow(Recognizer):
        def iter_timeline(self, *args: Any, **options: Any) -> Generator[Timeline]:
            for timeline in super().iter_timeline(*args, **options):
                steps.append(time.monotonic())
                yield timeline
                time.sleep(1)

    with served(build_demo(Slow(recognizer.loaded), settings=SETTINGS)) as url, open_page(url) as (page, _):
        panel = tab(page, "Long video")
        upload(panel, long_clip)
        expect(panel.get_by_text("Classified 4 of 11 pieces.")).to_be_visible(timeout=30_000)
        panel.get_by_role("button", name="Stop").click()
        expect(headline(panel)).to_contain_text("Stopped")
        stopped = time.monotonic()
        page.wait_for_timeout(3000)
        expect(headline(panel)).to_contain_text("Stopped")
        expect(panel.locator(".parts button").first).to_be_visible()
        assert [step for step in steps if step > stopped + 1.5] == []
        client = Client(url, verbose=False)  # the next visitor's turn comes
        assert client.predict(handle_file(video), api_name="/predict")[0]["label"]
        client.close()


# Beside each other


def test_three_samplers_and_two_videos_beside_each_other(url: str, video: Path, tmp_path: Path) -> None:
    other = write_mp4(tmp_path / "other.mp4", moving_bar(40))
    with open_page(url) as (page, watch):
        panel = tab(page, "Compare")
        for number, path in enumerate((video, other)):
            panel.locator("input[type=file]").nth(number).set_input_files(path)
            expect(frames(panel)).to_have_count(24 * (number + 1), timeout=30_000)
        expect(panel.locator(".runs tr")).to_have_count(6)
        watch.check()


def test_two_videos_are_answered_at_the_same_time(recognizer: Recognizer, video: Path) -> None:
    gate = threading.Event()

    class Slow(Recognizer):
        def predict(self, *args: Any, **options: Any) -> Any:
            assert gate.wait(60)
            return super().predict(*args, **options)

    with served(build_demo(Slow(recognizer.loaded), settings=SETTINGS)) as url, open_page(url) as (page, watch):
        panel = tab(page, "Compare")
        for number in range(2):
            panel.locator("input[type=file]").nth(number).set_input_files(video)
            expect(panel.get_by_text("Working on it")).to_have_count(number + 1)
        gate.set()
        expect(panel.locator(".runs tr")).to_have_count(6, timeout=30_000)
        watch.check()


# The camera


def test_a_recording_is_answered(url: str) -> None:
    with open_page(url) as (page, watch):
        panel = tab(page, "Live")
        panel.get_by_text("Record a clip").click()
        expect(panel.get_by_text("Record a few seconds of yourself")).to_be_visible()
        panel.get_by_text("Click to Access Webcam").last.click()
        page.wait_for_function("() => [...document.querySelectorAll('video')].some(v => v.videoWidth > 0)")
        panel.get_by_text("Start", exact=True).last.click()
        page.wait_for_timeout(1500)
        panel.get_by_text("Stop", exact=True).click()
        expect(frames(panel)).to_have_count(8, timeout=30_000)
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
        expect(bars(panel)).to_have_count(5, timeout=30_000)
        strip = panel.locator("img.film")
        shown = set[str]()
        for _ in range(3):
            shown.add(str(strip.get_attribute("src")))
            expect(strip).not_to_have_attribute("src", str(strip.get_attribute("src")), timeout=30_000)
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
def test_leaving_and_stopping_let_go_of_the_camera(url: str, way: str) -> None:
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
            page.wait_for_timeout(1000)
            assert [url for url in sent if "/stream/" in url] == []
        assert page.evaluate("tracks.length") == 2
        watch.check()


def test_leaving_the_tab_lets_go_of_a_recorders_camera(url: str) -> None:
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
        page.evaluate("navigator.mediaDevices.getUserMedia({video: true}).then(stream => window.opened = stream)")
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
