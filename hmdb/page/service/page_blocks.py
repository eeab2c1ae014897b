"""Gradio's Blocks with the page's handlers and links, which the server needs."""

from __future__ import annotations

from typing import Any

from hmdb.page.server.error_reporting import SafeErrorBlocks
from hmdb.page.service.handlers import Handlers
from hmdb.page.views.social_cards import ExampleLinks


class PageBlocks(SafeErrorBlocks):
    """The components and events of the page.

    Attributes:
        handlers: answer its events.
        links: to its examples.
    """

    def __init__(self, handlers: Handlers, links: ExampleLinks, **options: Any) -> None:
        super().__init__(**options)
        self.handlers, self.links = handlers, links
        self.api_open = False  # as `queue` would set it, which builds the whole server once more
