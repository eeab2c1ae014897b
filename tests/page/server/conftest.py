"""A page with tight limits, metrics and a trusted proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hmdb.page.launch import PageServer
from hmdb.page.layout import build_demo
from hmdb.page.settings import Settings
from hmdb.recognizer import Recognizer
from tests.support.ports import free_port

LIMITS = Settings(max_upload_mb=2, metrics=True, trusted_proxies=1)


@pytest.fixture(scope="package")
def page(recognizer: Recognizer) -> Iterator[PageServer]:
    page = PageServer(build_demo(recognizer, settings=LIMITS), LIMITS, quiet=True, server_port=free_port())
    yield page
    page.close(1)
