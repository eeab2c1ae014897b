"""Links, phones and accessibility of the page in a real browser."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hmdb.page.launch import PageServer
from hmdb.page.layout import build_demo
from hmdb.page.server.middleware.stream_order import END
from hmdb.page.service.model_loader import BackgroundModel
from hmdb.page.tabs.video import OPENS_WITH
from hmdb.recognizer import Recognizer
from hmdb.text import action_name
from tests.page.conftest import CLIPS, EXAMPLES, SETTINGS, served
from tests.support.browser import TABS, bars, headline, open_page, opened, serious, tab, upload
from tests.support.waiting import LIMIT_SECONDS

pytestmark = pytest.mark.browser


def test_a_link_opens_with_its_example(url: str, recognizer: Recognizer) -> None:
    with open_page(f"{url}?example=golf") as (page, watch):
        panel = page.get_by_role("tabpanel").locator("visible=true").first
        expect(panel.locator(".player video[src$='golf.mp4']")).to_be_visible()
        expect(headline(panel)).to_contain_text(action_name(recognizer(EXAMPLES / "golf.mp4").label))
        panel.locator(".examples .thumbnail-item").first.click()
        link = panel.get_by_role("link", name="a link to this example")
        expect(link).to_have_attribute("href", f"?example={CLIPS[0].stem}")
        expect(panel.get_by_text("picture hidden")).to_be_visible()
        watch.wait_idle(page)  # leaving would abort the stream of the answer
        link.click()
        expect(panel.locator(f".player video[src$='{CLIPS[0].name}']")).to_be_visible()
        assert page.url.endswith(f"?example={CLIPS[0].stem}")
        expect(panel.get_by_text("picture hidden")).to_be_visible()
        watch.check()


def test_the_url_names_the_example_that_is_shown(url: str, video: Path) -> None:
    with open_page(f"{url}?__theme=light&example=golf") as (page, watch):
        panel = opened(page)
        assert page.url == f"{url}?__theme=light&example=golf"
        panel.locator(".examples .thumbnail-item").first.click()
        page.wait_for_url(f"{url}?__theme=light&example={CLIPS[0].stem}")
        upload(panel, video)
        page.wait_for_url(f"{url}?__theme=light")
        watch.check()


def test_a_link_to_an_unknown_example_opens_the_page(url: str) -> None:
    with open_page(f"{url}?example=juggling") as (page, watch):
        expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
        expect(opened(page).locator(f".player video[src$='{OPENS_WITH}.mp4']")).to_be_visible()
        watch.check()


def test_the_page_is_up_before_the_model(recognizer: Recognizer) -> None:
    gate = threading.Event()

    def slow() -> Recognizer:
        assert gate.wait(LIMIT_SECONDS)
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
            expect(headline(panel).locator("strong")).to_have_text(re.compile("[a-z]"))
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_on_a_phone_the_answer_is_seen_without_scrolling(url: str, video: Path) -> None:
    with open_page(url, width=390, height=844) as (page, _):
        panel = opened(page)
        panel.locator(".examples .thumbnail-item").nth(1).click()
        expect(bars(panel)).to_have_count(5)
        assert page.evaluate("scrollY") == 0
        for seen in (panel.locator(".player video"), headline(panel), bars(panel).first):
            expect(seen).to_be_in_viewport(ratio=0.9)


def test_on_a_phone_the_subtitle_is_hidden(url: str) -> None:
    with open_page(url, width=390, height=844) as (page, _):
        expect(page.get_by_text("Show it a short video, or yourself")).to_be_hidden()
        page.get_by_text("The actions it knows").click()
        expect(page.get_by_text("Answers come from tiny, which knows 25 actions.")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(url: str, video: Path, theme: str) -> None:
    with open_page(f"{url}?__theme={theme}") as (page, _):
        for name in TABS:
            panel = opened(page) if name == "Video" else tab(page, name)
            assert serious(page) == []
            if name == "Video":
                panel.locator(".examples .thumbnail-item").first.click()
                expect(panel.get_by_text("a link to this example")).to_be_visible()
                page.mouse.move(0, 0)
                assert serious(page) == []
            if name != "Live":
                upload(panel, video)
                expect(headline(panel).locator("strong")).to_have_text(re.compile("[a-z]"))
                assert serious(page) == []


class LateEnds:
    """Holds back the end of every stream of answers, as a slow connection does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_late(message: Message) -> None:
            if END in message.get("body", b""):
                await asyncio.sleep(1)
            await send(message)

        await self.app(scope, receive, send_late)


def test_an_answer_comes_though_the_last_stream_ends_late(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PageServer, "_wrap", lambda page, app: LateEnds(app))
    with served(build_demo(recognizer, settings=SETTINGS, examples=EXAMPLES)) as url, open_page(url) as (page, _):
        panel = opened(page)
        for index, clip in enumerate(CLIPS[:3]):
            panel.locator(".examples .thumbnail-item").nth(index).click()
            expect(panel.locator(f".player video[src$='{clip.name}']")).to_be_visible()
            expect(panel.get_by_text("picture hidden")).to_be_visible()


def test_the_film_of_a_map_stands_still_for_who_wants_less_motion(url: str) -> None:
    with open_page(url) as (page, _):
        page.emulate_media(reduced_motion="reduce")
        page.reload()
        panel = opened(page)
        page.wait_for_function("[...document.querySelectorAll('.why video')].some(film => film.readyState > 1)")
        page.wait_for_function("[...document.querySelectorAll('.why video')].every(film => film.paused)")
        panel.locator(".why video").evaluate("film => film.play()")  # on request it plays
        page.wait_for_function("[...document.querySelectorAll('.why video')].some(film => !film.paused)")
