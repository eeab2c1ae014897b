"""The page in a real browser, and the same through gradio_client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import expect

import app
from hmdb.errors import ModelError
from hmdb.recognizer import Recognizer
from tests.browser import open_page


def serve(demo: gr.Blocks) -> Iterator[str]:
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, theme=gr.themes.Soft(), css=app.CSS)
    yield url
    demo.close()


@pytest.fixture(scope="module")
def url(recognizer: Recognizer) -> Iterator[str]:
    yield from serve(app.build_demo(recognizer))


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    client = Client(url, verbose=False)
    yield client
    client.close()


@pytest.mark.browser
def test_a_video_gets_its_label_five_bars_and_eight_frames(url: str, video: Path, recognizer: Recognizer) -> None:
    prediction = recognizer(video)
    with open_page(url) as (page, watch):
        expect(page.get_by_text("Answers come from tiny, which knows 25 actions.")).to_be_visible()
        page.set_input_files("input[type=file]", video)
        expect(page.locator("video").first).to_be_visible()
        page.get_by_role("button", name="Name the action").click()
        expect(page.get_by_test_id("label-output-value")).to_have_text(app.readable(prediction.label), timeout=30_000)
        expect(page.locator(".thumbnail-item, .gallery-item").locator("img")).to_have_count(8)
        expect(page.get_by_text("0.64 s · real")).to_be_visible()
        expect(page.get_by_text("3.28 s · reversed")).to_be_visible()
        bars = page.locator("[aria-roledescription=bar]")
        expect(bars).to_have_count(5)
        watch.check()


@pytest.mark.browser
def test_a_text_named_mp4_gets_one_clear_line(url: str, tmp_path: Path) -> None:
    fake = tmp_path / "holiday.mp4"
    fake.write_text("not a video")
    with open_page(url) as (page, _):
        page.set_input_files("input[type=file]", fake)
        expect(page.locator("video").first).to_be_attached()
        page.get_by_role("button", name="Name the action").click()
        expect(page.get_by_text("holiday.mp4", exact=False).last).to_be_visible()


@pytest.mark.browser
def test_the_page_is_up_before_the_model_and_says_so(recognizer: Recognizer) -> None:
    gate = threading.Event()

    def slow() -> Recognizer:
        assert gate.wait(60)
        return recognizer

    for url in serve(app.build_demo(app.Loading(slow))):
        with open_page(url) as (page, _):
            expect(page.get_by_text("Loading the model")).to_be_visible()
            gate.set()
            expect(page.get_by_text("Answers come from tiny")).to_be_visible()


def test_predict_through_the_client(client: Client, video: Path, recognizer: Recognizer) -> None:
    action, top, frames, answer = client.predict(handle_file(video), api_name="/predict")
    prediction = recognizer(video)
    assert action["label"] == app.readable(prediction.label)
    assert answer["label"] == prediction.label
    assert answer["probability"] == pytest.approx(prediction.probability, abs=1e-5)
    assert answer["clip_spec"]["sampler"] == "uniform"
    assert [len(answer["top"]), len(answer["frames"]), len(frames)] == [5, 8, 8]
    assert [row[0] for row in top["data"]] == list(map(app.readable, prediction.labels))


def test_every_output_has_a_name(client: Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/predict"]
    assert [output["label"] for output in endpoints["/predict"]["returns"]] == [
        "Predicted action",
        "Top five",
        "The frames it looked at",
        "Answer",
    ]


def test_errors_reach_the_client_as_one_line_without_paths(client: Client, tmp_path: Path) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_text("not a video")
    with pytest.raises(AppError, match=r"fake\.mp4") as caught:
        client.predict(handle_file(fake), api_name="/predict")
    assert str(tmp_path.parent) not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_video_is_said(client: Client) -> None:
    with pytest.raises(AppError, match="Choose a video first"):
        client.predict(None, api_name="/predict")


def test_a_model_that_does_not_load_is_said_on_the_page() -> None:
    def broken() -> Recognizer:
        raise ModelError("The weights of x cannot be loaded: no.")

    assert "no" in app.describe(app.Loading(broken))


def test_loading_happens_once(recognizer: Recognizer) -> None:
    calls: list[int] = []

    def load() -> Recognizer:
        calls.append(1)
        return recognizer

    loading = app.Loading(load)
    assert [loading.wait() for _ in range(3)] == [recognizer] * 3
    assert calls == [1]
