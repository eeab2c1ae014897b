"""The page: its tabs, and what happens when it opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from hmdb.page.api import build_api
from hmdb.page.server import gradio_patches as programs
from hmdb.page.server.error_reporting import SafeErrorBlocks
from hmdb.page.server.file_store import FILES
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.model_loader import BackgroundModel, as_background
from hmdb.page.settings import Settings, on_zerogpu
from hmdb.page.tabs.base import BARE_HTML, IMMEDIATE, INTERNAL, THUMBNAIL_ROW, drop_zone, recorder, video_player
from hmdb.page.tabs.compare import ComparePanel
from hmdb.page.tabs.live import LivePanel
from hmdb.page.tabs.long_video import TimelinePanel
from hmdb.page.tabs.video import AnswerPanel
from hmdb.page.views.assets import read_script
from hmdb.page.views.formatting import duration
from hmdb.page.views.social_cards import PARAMETER, ExampleLinks, example_names, middle_frame
from hmdb.page.views.theme import INTRO, TITLE

if TYPE_CHECKING:
    from hmdb.recognizer import Recognizer

OPENS_WITH = "pullup"  # the example that is answered when the page opens
VIDEO = "video"  # the tab where examples are answered
LIVE = "Live"
MODES = (LIVE, "Record a clip")


def build_demo(
    recognizer: Recognizer | BackgroundModel,
    second: Recognizer | BackgroundModel | None = None,
    settings: Settings | None = None,
    *,
    examples: Path | None = None,
) -> gr.Blocks:
    """The page.

    Args:
        recognizer: answers.
        second: is set beside it in the tab Compare.
        settings: what a visitor may cost; those of the environment, if not given.
        examples: a folder of videos (mp4) that visitors may try, named by what they show.
    """
    programs.block_ffmpeg()
    settings = settings or Settings.from_environment()
    clips = FILES.add_examples(examples) if examples else []
    do = Handlers(as_background(recognizer), as_background(second) if second else None, settings, clips)
    heavy: dict[str, Any] = {"concurrency_limit": None}  # Turns says who is answered when
    links = ExampleLinks(clips, [middle_frame(clip) for clip in clips])
    demo = SafeErrorBlocks(title=TITLE, analytics_enabled=False)
    with demo:
        gr.Markdown(f"# {TITLE}\n{INTRO}", elem_classes="heading")
        with gr.Tabs() as tabs:
            if not on_zerogpu():  # which is lent for an answer at a time, not for an answer each quarter of a second
                with gr.Tab(LIVE):
                    add_live_tab(do, heavy, settings, tabs)
            with gr.Tab("Video", id=VIDEO):
                add_video_tab(demo, do, heavy, tabs, links)
            with gr.Tab("Long video"):
                TimelinePanel(do, heavy)
            with gr.Tab("Compare"), gr.Row(equal_height=False):
                for name in ("a video", "another one"):
                    with gr.Column(min_width=300):
                        ComparePanel(do, heavy, name)
        with gr.Accordion("The actions it knows, and its model", open=False):
            about = [gr.Markdown("Loading the model ..."), gr.Markdown()]
        demo.load(do.describe, None, about, **INTERNAL)
        build_api(do, heavy)
    demo.api_open = False  # as `queue` would say, which makes the whole server once more
    demo.handlers = do  # type: ignore[attr-defined]  # which `Page` asks how things stand
    demo.links = links  # type: ignore[attr-defined]
    return demo


def add_live_tab(do: Handlers, heavy: dict[str, Any], settings: Settings, tabs: gr.Tabs) -> None:
    """The camera, answered as it goes on; or a recording of it, answered when it ends."""

    def shown(chosen: str, event: gr.SelectData) -> list[dict[str, Any]]:
        """One of both, and none on another tab: what is hidden lets go of its camera."""
        return [gr.update(visible=event.value == LIVE and chosen == each) for each in MODES]

    mode = gr.Radio(MODES, value=MODES[0], label="How the camera is used", show_label=False, container=False)
    with gr.Column() as streamed:
        LivePanel(do)
    with gr.Column(visible=False) as recorded:
        record = AnswerPanel(
            do,
            heavy,
            recorder("Recording"),
            "Record a few seconds of yourself; the answer comes when you stop. The recording is deleted "
            f"after {duration(settings.keep_seconds)}. Its sound is ignored, though your browser may ask for it.",
        )
        record.answers(record.player, record.player.stop_recording, record.player.clear)
    mode.change(
        lambda chosen: [gr.update(visible=chosen == each) for each in MODES], mode, [streamed, recorded], **IMMEDIATE
    )
    tabs.select(shown, mode, [streamed, recorded], **IMMEDIATE)


def add_video_tab(demo: gr.Blocks, do: Handlers, heavy: dict[str, Any], tabs: gr.Tabs, links: ExampleLinks) -> None:
    """A video of one's own or an example."""
    with gr.Row(equal_height=False):
        upload = drop_zone()
        if links.clips:
            examples = gr.Gallery(
                list(zip(links.frames, example_names(links.clips), strict=True)),
                label="Examples",
                interactive=False,
                scale=6,
                elem_classes=["pictures", "examples"],
                **THUMBNAIL_ROW,
            )
    panel = AnswerPanel(
        do,
        heavy,
        video_player("The video"),
        "Drop a short video or choose an example, and the answer appears here.",
        upload,
    )
    if links.clips:
        connect_examples(demo, panel, examples, tabs, links)
    panel.answers(upload, upload.upload)


def connect_examples(
    demo: gr.Blocks, panel: AnswerPanel, examples: gr.Gallery, tabs: gr.Tabs, links: ExampleLinks
) -> None:
    """One example is answered when the page opens, the one that its address names if it does; then those that are
    clicked.
    """
    link = gr.HTML(**BARE_HTML)
    panel.empty |= {link: "", examples: gr.update(selected_index=-1)}  # None would be left out
    first = links.clip(OPENS_WITH) or links.clips[0]

    def take(clip: Path) -> dict[Any, Any]:
        return {**panel.take(str(clip)), link: links.link(clip)}

    def choose(event: gr.SelectData) -> dict[Any, Any]:
        return {**take(links.clips[event.index]), examples: gr.skip()}  # which stays chosen

    def begin(request: gr.Request) -> dict[Any, Any]:
        if panel.has_choice:  # the visitor was faster
            return {tabs: gr.skip()}
        wanted = links.clip(request.query_params.get(PARAMETER))
        return take(wanted or first) | ({tabs: gr.Tabs(selected=VIDEO)} if wanted else {})

    link.change(None, link, js=read_script("sync_example_link.js"))
    panel.answer_after(examples.select(choose, None, panel.outputs, **IMMEDIATE))
    panel.answer_after(demo.load(begin, None, [*panel.outputs, tabs], **IMMEDIATE))
