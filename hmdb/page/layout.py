"""The page: its tabs, its components, and which of them a click concerns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from hmdb.page import programs
from hmdb.page.files import FILES
from hmdb.page.handlers import ANSWER, OVERALL, Handlers
from hmdb.page.model import Loading, loaded_later
from hmdb.page.settings import Settings
from hmdb.text import readable

if TYPE_CHECKING:
    from hmdb.recognizer import Recognizer

TITLE = "What are they doing?"
INTRO = (
    "A video transformer looks at a few frames of a short video and names the action in it. "
    "It knows a fixed list of actions, and no others."
)


CSS = """
.gradio-container {max-width: 1180px !important; margin: 0 auto !important}
#weights, .note {font-size: .9rem}
.chart {overflow: visible !important; box-sizing: content-box !important; width: auto !important;
    border-bottom: 1.8rem solid var(--block-background-fill) !important}
.frames .grid-wrap {max-height: none !important}
.frames .grid-container {padding-top: 2.4rem !important}
.frames .thumbnail-lg {aspect-ratio: auto !important; height: auto !important; flex-direction: column}
.frames .thumbnail-lg img {width: 100%; height: auto !important}
.frames .caption-label {position: static !important; max-width: 100% !important; white-space: normal;
    border: none !important; background: none !important; box-shadow: none !important; text-align: center}
.table {max-width: calc(100vw - 4rem); overflow-x: auto}
.examples .gallery {flex-wrap: nowrap !important; overflow-x: auto}
@media (max-width: 640px) {.frames .grid-container {grid-template-columns: repeat(2, 1fr) !important}}
"""


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
    do = Handlers(loaded_later(recognizer), loaded_later(second) if second else None, settings)
    heavy: dict[str, Any] = {"concurrency_limit": None}  # Turns says who is answered when
    demo = gr.Blocks(title=TITLE, analytics_enabled=False)
    with demo:
        gr.Markdown(f"# {TITLE}\n{INTRO}")
        weights = gr.Markdown("Loading the model ...", elem_id="weights", container=False)
        with gr.Accordion("The actions it knows", open=False):
            actions = gr.Markdown()
        with gr.Tab("Upload"):
            with gr.Row(equal_height=False):
                with gr.Column():
                    upload = upload_with_preview(do)
                    buttons = start_and_cancel("Name the action")
                    if clips:
                        example_clips(upload, clips)
                answer = Answer.beside()
            answer.below(do, upload, buttons, heavy, public=True)
        with gr.Tab("Webcam"):
            gr.Markdown(
                "Record a few seconds of yourself. The recording is sent here to be answered, and deleted after "
                f"{settings.keep_seconds // 60} minutes; its sound is ignored, though your browser may ask for the "
                "microphone too.",
                elem_classes="note",
            )
            with gr.Row(equal_height=False):
                with gr.Column():
                    webcam = gr.Video(
                        label="Recording",
                        sources=["webcam"],
                        # Mirroring, and leaving out the sound, would need an ffmpeg program on the server.
                        webcam_options=gr.WebcamOptions(
                            mirror=False, constraints={"video": {"width": 640, "height": 480}}
                        ),
                        include_audio=True,
                        height=320,
                    )
                    webcam_buttons = start_and_cancel("Name the action")
                webcam_answer = Answer.beside()
            webcam_answer.below(do, webcam, webcam_buttons, heavy, public=False)
        with gr.Tab("Long video"):
            long_video(do, heavy)
        with gr.Tab("Compare"):
            compare(do, heavy)
        demo.load(do.describe, None, [weights, actions], api_visibility="private", show_progress="hidden")
        demo.load(None, js=name_examples(clips), api_visibility="private")
        # Not for the page, for the API alone.
        gr.Button(visible=False).click(do.labels, None, gr.JSON(label="Labels", visible=False), api_name="labels")
        gr.Button(visible=False).click(do.model, None, gr.JSON(label="Model", visible=False), api_name="model")
    demo.queue(api_open=False)
    demo.handlers = do  # type: ignore[attr-defined]  # which `Page` asks how things stand
    return demo


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The components that show an answer: some beside the video, the rest below it."""

    action: gr.Label
    words: gr.Markdown
    top: gr.BarPlot

    @classmethod
    def beside(cls) -> Answer:
        with gr.Column():
            return cls(
                action=gr.Label(label="Predicted action", num_top_classes=1),
                words=gr.Markdown(label="In words", elem_classes="note"),
                top=gr.BarPlot(
                    label="Top five",
                    x="action",
                    y="probability",
                    sort="-y",
                    y_lim=[0, 1],
                    x_title=" ",
                    x_label_angle=-25,
                    height=260,
                    elem_classes="chart",
                ),
            )

    def below(
        self,
        do: Handlers,
        video: gr.components.Component,
        buttons: tuple[gr.Button, gr.Button],
        heavy: dict[str, Any],
        *,
        public: bool,
    ) -> None:
        """Frames, explanation and JSON, and what happens on a click. Only one set of them is in the API."""
        seen: dict[str, Any] = {"api_visibility": "public" if public else "private"}
        frames = gr.Gallery(
            label="The frames it looked at", columns=4, object_fit="contain", height="auto", elem_classes="frames"
        )
        with gr.Accordion("Where did it look, and why this answer?", open=False):
            with gr.Row():
                label = gr.Dropdown(
                    label="Show what speaks for",
                    choices=[ANSWER, OVERALL],
                    value=ANSWER,
                    info="or, of a label: what speaks for it, so that a wrong answer can be understood",
                )
                opacity = gr.Slider(0, 1, 0.7, label="Opacity")
            show = gr.Button("Show")
            maps = gr.Gallery(
                label="Where it looked", columns=4, object_fit="contain", height="auto", elem_classes="frames"
            )
            check = gr.Button("Does this map mean anything?")
            checked = gr.Markdown(label="Check of the map")
            explained = gr.JSON(label="Explanation", visible=False)
        with gr.Accordion("The answer as JSON", open=False):
            answer = gr.JSON(label="Answer")
        start, cancel = buttons
        asked = start.click(
            do.predict, video, [self.action, self.words, self.top, frames, answer], api_name="predict", **seen, **heavy
        )
        asked.success(choices, answer, label, api_visibility="private", show_progress="hidden")
        if public:  # to the API a label is any text: the dropdown learns its choices from an answer
            text = gr.Textbox(ANSWER, label="label", visible=False)
            hidden = gr.Button(visible=False)
            hidden.click(do.explain, [video, text, opacity], [maps, explained], api_name="explain", **heavy)
            hidden.click(do.check, [video, text], checked, api_name="check", **heavy)
        explain = {"fn": do.explain, "inputs": [video, label, opacity], "outputs": [maps, explained]}
        drawn = gr.on([show.click, opacity.release], **explain, api_visibility="private", **heavy)
        drawn.success(lambda: "", None, checked, api_visibility="private", show_progress="hidden")
        tried = check.click(do.check, [video, label], checked, api_visibility="private", **heavy)
        cancels(do, cancel, [asked, drawn, tried], self.words)


def upload_with_preview(do: Handlers) -> gr.File:
    upload = gr.File(label="Video", height=140)  # of any type: its first bytes decide, not its name
    preview = gr.Video(
        label="Preview", interactive=False, visible=False, height=300, buttons=[], elem_classes="preview"
    )
    upload.change(do.preview, upload, preview, api_visibility="private", show_progress="minimal")
    return upload


def start_and_cancel(words: str) -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        return gr.Button(words, variant="primary", scale=3), gr.Button("Cancel", scale=1, min_width=80)


def cancels(do: Handlers, button: gr.Button, events: list[Any], words: gr.Markdown) -> None:
    """The button takes a visitor out of the queue, or ends the work that is under way."""
    button.click(do.cancel, None, words, cancels=events, api_visibility="private", queue=False)


def name_examples(clips: Sequence[Path]) -> str:
    """Gives the buttons of the examples names, as Gradio does not and people who cannot see them need some."""
    return f"""() => {{
    const names = {json.dumps([readable(path.stem) for path in clips])};
    document.querySelectorAll("button.gallery-item").forEach(
        (button, index) => button.setAttribute("aria-label", `Example: ${{names[index]}}`));
}}"""


def example_clips(upload: gr.File, clips: Sequence[Path]) -> None:
    dataset = gr.Dataset(
        components=[gr.Video(render=False)],
        samples=[[str(path)] for path in clips],
        label="Examples (drawings, made for this page)",
        type="index",
        samples_per_page=len(clips),
        elem_classes="examples",
    )
    dataset.click(lambda index: str(clips[index]), dataset, upload, api_visibility="private", show_progress="hidden")


def long_video(do: Handlers, heavy: dict[str, Any]) -> None:
    gr.Markdown(
        "A longer video is looked at window by window. What each shows becomes a timeline.", elem_classes="note"
    )
    with gr.Row(equal_height=False):
        with gr.Column():
            upload = upload_with_preview(do)
            start, cancel = start_and_cancel("Make the timeline")
        with gr.Column():
            words = gr.Markdown(label="In words")
            drawn = gr.Plot(label="Which action when", show_label=False)
    table = gr.Dataframe(
        label="Segments",
        headers=["start", "end", "action", "probability"],
        datatype=["number", "number", "str", "number"],
        interactive=False,
        elem_classes="table",
    )
    files = gr.Files(label="The segments as JSON, CSV and subtitles (SRT)")
    with gr.Accordion("The timeline as JSON", open=False):
        answer = gr.JSON(label="Timeline")
    asked = start.click(do.timeline, upload, [words, drawn, table, files, answer], api_name="timeline", **heavy)
    cancels(do, cancel, [asked], words)


def compare(do: Handlers, heavy: dict[str, Any]) -> None:
    gr.Markdown(
        "The same video, its frames taken in the paper's three ways: every 32nd, evenly spread, and at random.",
        elem_classes="note",
    )
    with gr.Row(equal_height=False):
        with gr.Column():
            upload = upload_with_preview(do)
            start, cancel = start_and_cancel("Compare")
        with gr.Column():
            words = gr.Markdown(label="Agreement")
            table = gr.Dataframe(label="Top five of each", interactive=False, wrap=True, elem_classes="table")
    frames = gr.Gallery(
        label="The frames of each, row by row", columns=8, object_fit="contain", height="auto", elem_classes="frames"
    )
    asked = start.click(do.compare, upload, [words, table, frames], api_name="compare", **heavy)
    cancels(do, cancel, [asked], words)


def choices(answer: dict[str, Any]) -> Any:
    """The labels that an explanation can be about: those of the answer first."""
    return gr.Dropdown(choices=[ANSWER, OVERALL, *(readable(each["label"]) for each in answer["top"])], value=ANSWER)
