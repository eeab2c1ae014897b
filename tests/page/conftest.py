"""A page with a small model, served once for all its tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hmdb.page.launch import PageServer
from hmdb.page.layout import build_demo
from hmdb.page.service.page_blocks import PageBlocks
from hmdb.page.settings import Settings
from hmdb.recognizer import Recognizer
from tests.support.clips import moving_bar, write_mp4
from tests.support.paths import ROOT
from tests.support.ports import free_port

EXAMPLES = ROOT / "examples"
CLIPS = sorted(EXAMPLES.glob("*.mp4"))
SETTINGS = Settings(max_upload_mb=1)


@contextmanager
def served(demo: PageBlocks) -> Iterator[str]:
    try:
        # Gradio's own search for a port never ends where another process takes the one that it has found.
        yield PageServer(demo, SETTINGS, quiet=True, server_port=free_port()).url
    finally:
        demo.close()


@pytest.fixture(scope="package")
def url(recognizer: Recognizer) -> Iterator[str]:
    with served(build_demo(recognizer, settings=SETTINGS, examples=EXAMPLES)) as url:
        yield url


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 60 s, which are 13 windows."""
    return write_mp4(tmp_path_factory.mktemp("long") / "long.mp4", moving_bar(1500, (64, 48)))
