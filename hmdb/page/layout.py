"""The page: its tabs, and what happens when it opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from hmdb.page import programs
from hmdb.page.answer import AnswerPanel
from hmdb.page.api import build_api
from hmdb.page.brief import Told
from hmdb.page.compare import ComparePanel
from hmdb.page.examples import middle, names
from hmdb.page.files import FILES
from hmdb.page.handlers import Handlers
from hmdb.page.live import LivePanel
from hmdb.page.model import Loading, loaded_later
from hmdb.page.panel import AT_ONCE, PLAIN, PRIVATE, ROW_OF_PICTURES, drop_zone, recorder, video_player
from hmdb.page.present import duration
from hmdb.page.settings import Settings, lends_gpu
from hmdb.page.share import FOLLOW, PARAMETER, Links
from hmdb.page.theme import INTRO, TITLE
from hmdb.page.timeline import TimelinePanel

if TYPE_CHECKING:
    from hmdb.recognizer import Recognizer

OPENS_WITH = "pullup"  # the example that is answered when the page opens
VIDEO = "video"  # the tab where examples are answered
LIVE = "Live"
MODES = (LIVE, "Record a clip")


def build_demo(
    recognizer: Recognizer | Loading,
    second: Recognizer | Loading | None = None,
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
    programs.start_none()
    settings = settings or Settings.from_environment()
    clips = FILES.examples(examples) if examples else []
    do = Handlers(loaded_later(recognizer), loaded_later(second) if second else None, settings, clips)
    heavy: dict[str, Any] = {"concurrency_limit": None}  # Turns says who is answered when
    links = Links(clips, [middle(clip) for clip in clips])
    demo = Told(title=TITLE, analytics_enabled=False)
    with demo:
        gr.Markdown(f"# {TITLE}\n{INTRO}", elem_classes="heading")
        with gr.Tabs() as tabs:
            if not lends_gpu():  # which is lent for an answer at a time, not for an answer each quarter of a second
                with gr.Tab(LIVE):
                    live(do, heavy, settings, tabs)
            with gr.Tab("Video", id=VIDEO):
                video(demo, do, heavy, tabs, links)
            with gr.Tab("Long video"):
                TimelinePanel(do, heavy)
            with gr.Tab("Compare"), gr.Row(equal_height=False):
                for name in ("a video", "another one"):
                    with gr.Column(min_width=300):
                        ComparePanel(do, heavy, name)
        with gr.Accordion("The actions it knows, and its model", open=False):
            about = [gr.Markdown("Loading the model ..."), gr.Markdown()]
        demo.load(do.describe, None, about, **PRIVATE)
        build_api(do, heavy)
    demo.api_open = False  # as `queue` would say, which makes the whole server once more
    demo.handlers = do  # type: ignore[attr-defined]  # which `Page` asks how things stand
    demo.links = links  # type: ignore[attr-defined]
    return demo


def live(do: Handlers, heavy: dict[str, Any], settings: Settings, tabs: gr.Tabs) -> None:
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
        lambda chosen: [gr.update(visible=chosen == each) for each in MODES], mode, [streamed, recorded], **AT_ONCE
    )
    tabs.select(shown, mode, [streamed, recorded], **AT_ONCE)


def video(demo: gr.Blocks, do: Handlers, heavy: dict[str, Any], tabs: gr.Tabs, links: Links) -> None:
    """A video of one's own or an example."""
    with gr.Row(equal_height=False):
        upload = drop_zone()
        if links.clips:
            examples = gr.Gallery(
                list(zip(links.frames, names(links.clips), strict=True)),
                label="Examples",
                interactive=False,
                scale=6,
                elem_classes=["pictures", "examples"],
                **ROW_OF_PICTURES,
            )
    panel = AnswerPanel(
        do,
        heavy,
        video_player("The video"),
        "Drop a short video or choose an example, and the answer appears here.",
        upload,
    )
    if links.clips:
        answer_examples(demo, panel, examples, tabs, links)
    panel.answers(upload, upload.upload)


def answer_examples(demo: gr.Blocks, panel: AnswerPanel, examples: gr.Gallery, tabs: gr.Tabs, links: Links) -> None:
    """One example is answered when the page opens, the one that its address names if it does; then those that are
    clicked.
    """
    link = gr.HTML(**PLAIN)
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

    link.change(None, link, js=FOLLOW)
    panel.answer_after(examples.select(choose, None, panel.outputs, **AT_ONCE))
    panel.answer_after(demo.load(begin, None, [*panel.outputs, tabs], **AT_ONCE))
