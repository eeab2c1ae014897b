"""The page: its tabs, its model's description, and the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from hmdb.page.api import build_api
from hmdb.page.server import gradio_patches
from hmdb.page.server.file_store import FILES
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.model_loader import BackgroundModel, as_background
from hmdb.page.service.page_blocks import PageBlocks
from hmdb.page.settings import Settings, on_zerogpu
from hmdb.page.tabs.base import INTERNAL
from hmdb.page.tabs.compare import ComparePanel
from hmdb.page.tabs.live import LIVE, add_live_tab
from hmdb.page.tabs.long_video import TimelinePanel
from hmdb.page.tabs.video import VIDEO, add_video_tab
from hmdb.page.views.social_cards import ExampleLinks, middle_frame
from hmdb.page.views.theme import INTRO, TITLE

if TYPE_CHECKING:
    from hmdb.recognizer import Recognizer


def build_demo(
    recognizer: Recognizer | BackgroundModel,
    second: Recognizer | BackgroundModel | None = None,
    settings: Settings | None = None,
    *,
    examples: Path | None = None,
) -> PageBlocks:
    """Builds the page.

    Args:
        recognizer: answers.
        second: a second model for the Compare tab.
        settings: limits; by default those of the environment.
        examples: a folder of videos (mp4) that visitors may try, named after their labels.
    """
    gradio_patches.block_ffmpeg()
    settings = settings or Settings.from_environment()
    clips = FILES.add_examples(examples) if examples else []
    do = Handlers(as_background(recognizer), as_background(second) if second else None, settings, clips)
    links = ExampleLinks(clips, [middle_frame(clip) for clip in clips])
    demo = PageBlocks(do, links, title=TITLE, analytics_enabled=False)
    with demo:
        gr.Markdown(f"# {TITLE}\n{INTRO}", elem_classes="heading")
        with gr.Tabs() as tabs:
            if not on_zerogpu():  # it lends its GPU for one call at a time, too slow for a live camera
                with gr.Tab(LIVE):
                    add_live_tab(do, tabs, settings.keep_seconds)
            with gr.Tab("Video", id=VIDEO):
                add_video_tab(demo, do, tabs, links)
            with gr.Tab("Long video"):
                TimelinePanel(do)
            with gr.Tab("Compare"), gr.Row(equal_height=False):
                for name in ("a video", "another one"):
                    with gr.Column(min_width=300):
                        ComparePanel(do, name)
        with gr.Accordion("The actions it knows, and its model", open=False):
            about = [gr.Markdown("Loading the model ..."), gr.Markdown()]
        demo.load(do.describe, None, about, **INTERNAL)
        build_api(do)
    return demo
