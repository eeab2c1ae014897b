"""Link previews."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from hmdb.page.tabs.video import OPENS_WITH
from hmdb.page.views.social_cards import CARD_SIZE, ExampleLinks
from tests.page.conftest import CLIPS


def tags(url: str, query: str = "", **headers: str) -> dict[str, str]:
    """The link preview tags; each occurs once, near the start of the page."""
    begin = httpx.get(url + query, headers=headers, timeout=60).text[:32_000]
    found = re.findall(r'<meta\s+(?:property|name)="([^"]+)"\s+content="([^"]*)"', begin)
    assert len(found) == len(dict(found))
    return dict(found)


def test_the_page_has_a_title_a_description_and_a_picture(url: str) -> None:
    found = tags(url)
    assert found["og:title"] == "What are they doing?"
    assert "names the action" in found["og:description"]
    assert found["og:url"] == url
    picture = Image.open(BytesIO(httpx.get(found["og:image"], timeout=60).content))
    assert picture.size == CARD_SIZE


def test_each_example_has_its_own_preview(url: str) -> None:
    found = {clip.stem: tags(url, f"?example={clip.stem}") for clip in CLIPS}
    assert found["ride_bike"]["og:title"] == "What are they doing? Riding a bike!"
    assert found["golf"]["og:url"] == f"{url}?example=golf"
    pictures = {httpx.get(each["og:image"], timeout=60).content for each in found.values()}
    assert len(pictures) == len(CLIPS)


@pytest.mark.parametrize("query", ["?example=juggling", "?example=", "?example=%00", "?example=../golf", "?exam", "?%"])
def test_unknown_examples_get_the_preview_of_the_page(url: str, query: str) -> None:
    assert tags(url, query) == tags(url)


def test_addresses_are_those_that_the_client_sees(url: str) -> None:
    behind = {"x-forwarded-host": "a.example", "x-forwarded-proto": "https"}
    assert tags(url, **behind)["og:image"].startswith("https://a.example/gradio_api/file=examples/")
    malicious = {"x-forwarded-host": 'a"><script>'}
    assert "<script>" not in str(tags(url, **malicious))


def test_gradios_own_tags_are_removed(url: str) -> None:
    assert "header-image" not in httpx.get(url, timeout=60).text


def test_names_are_escaped(tmp_path: Path) -> None:
    clip = tmp_path / '"><b>.mp4'
    links = ExampleLinks([clip], [np.zeros((48, 64, 3), np.uint8)])
    page = links.with_meta_tags(b"<head></head>", "http://x", "example=%22%3E%3Cb%3E").decode()
    assert "<b>" not in page + links.link(clip)
    assert "&#34;&gt;&lt;b&gt;!" in page


def test_no_picture_without_examples() -> None:
    assert b"og:image" not in ExampleLinks().with_meta_tags(b"<head></head>", "http://x", "")
    assert ExampleLinks().clip(OPENS_WITH) is None
