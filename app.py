"""The Space: a page that names the action in a video, shows why, and follows long ones through.

Every handler is a few lines: it asks the recognizer, which knows nothing of pages, and hands what comes
back to components. What goes wrong on purpose (HmdbError) reaches the visitor as one line.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

from hmdb.clip import Clip, ClipFrame, Prediction
from hmdb.errors import HmdbError
from hmdb.labels import readable
from hmdb.limits import FromEnvironment

if TYPE_CHECKING:
    from hmdb.attention import Explanation
    from hmdb.recognizer import Recognizer
    from hmdb.timeline import Timeline

TITLE = "What are they doing?"
INTRO = (
    "A video transformer looks at a few frames of a short video and names the action in it. "
    "It knows a fixed list of actions, and no others."
)
PAPER_SAMPLERS = ("uniform", "equidistant", "random")
OVERALL = "Everything it looked at"
GPU_SECONDS = 60  # for which ZeroGPU lends its GPU to one answer
ZERO_GPU = bool(os.environ.get("SPACES_ZERO_GPU"))
SESSIONS = 256  # visitors whose last map is kept for the opacity slider
FRAME_SIDE = 480  # pixels, the longest side of a frame in a gallery
EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.mp4"))

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

# Gradio gives the buttons of a dataset of videos no names, and people who cannot see them need some.
NAME_EXAMPLES = f"""() => {{
    const names = {json.dumps([readable(path.stem) for path in EXAMPLES])};
    document.querySelectorAll("button.gallery-item").forEach(
        (button, index) => button.setAttribute("aria-label", `Example: ${{names[index]}}`));
}}"""


@dataclass(frozen=True, kw_only=True)
class Settings(FromEnvironment):
    """What a visitor may cost. HMDB_MAX_UPLOAD sets `max_upload`, and so on for each name.

    Attributes:
        max_upload: the largest file, as Gradio writes sizes.
        max_waiting: visitors in the queue; further ones are told to come back.
        at_once: answers that are worked on at the same time.
        seconds: until a long video is left unfinished and what is known by then is shown.
        keep_seconds: until uploads and results are deleted.
        compare: a second checkpoint, Hub id or folder, to set beside the first; none by default.
    """

    prefix = "HMDB_"

    max_upload: str = "50mb"
    max_waiting: int = 32
    at_once: int = 1
    seconds: float = 120.0
    keep_seconds: int = 3600
    compare: str = ""


class Loading:
    """A recognizer that loads in a thread of its own, so that the page is up first."""

    def __init__(self, load: Callable[[], Recognizer]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._future: Future[Recognizer] | None = None

    def start(self) -> Future[Recognizer]:
        """Begins to load, once; later calls return the same future."""
        with self._lock:
            if self._future is None:
                self._future = Future()
                threading.Thread(target=self._run, args=(self._future,), name="load-model", daemon=True).start()
            return self._future

    def _run(self, future: Future[Recognizer]) -> None:
        try:
            future.set_result(self._load())
        except BaseException as error:  # raised again by whoever asks for the result
            future.set_exception(error)

    def wait(self) -> Recognizer:
        """The recognizer, as soon as it is there.

        Raises:
            HmdbError: what loading raised.
        """
        return self.start().result()


def load_recognizer(model: str | None = None) -> Recognizer:
    from transformers.utils.logging import disable_progress_bar

    from hmdb.recognizer import Recognizer

    disable_progress_bar()  # type: ignore[no-untyped-call]
    return Recognizer.from_pretrained(model)


def on_gpu(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, on a GPU that is lent for its duration, on Spaces that lend one (ZeroGPU)."""
    try:
        import spaces
    except ImportError:
        return handler
    lent: Callable[..., Any] = spaces.GPU(duration=GPU_SECONDS)(handler)
    return lent


def told(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, telling the visitor in one line what went wrong on purpose."""

    @functools.wraps(handler)
    def answer(*args: Any, **options: Any) -> Any:
        try:
            return handler(*args, **options)
        except HmdbError as error:
            raise gr.Error(str(error), print_exception=False) from error

    @functools.wraps(handler)
    def stream(*args: Any, **options: Any) -> Iterator[Any]:
        try:
            yield from handler(*args, **options)
        except HmdbError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return stream if inspect.isgeneratorfunction(handler) else answer


class Handlers:
    """What the page, the API and the tools do. Public methods without an underscore are their names.

    Nothing here belongs to one visitor: what a handler knows it was given.
    """

    def __init__(self, loading: Loading, second: Loading | None, settings: Settings) -> None:
        self._loading = loading
        self._second = second
        self._settings = settings

    @told
    @on_gpu
    def predict(self, video: str | None, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        """Names the action in a short video: the five likeliest labels with their probabilities.

        Args:
            video: a video file.
        """
        recognizer = self._loading.wait()
        progress(0.1, desc="Reading the video")
        clip = recognizer.read(given(video))
        progress(0.4, desc="Looking at its frames")
        prediction = recognizer.predict(clip)
        return (
            confidences(prediction),
            verdict(prediction, len(recognizer.labels)),
            chart(prediction),
            gallery(clip),
            prediction.to_dict(),
        )

    @told
    @on_gpu
    def explain(
        self,
        video: str | None,
        label: str | None = OVERALL,
        opacity: float = 0.7,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Shows where in the frames the model looked, or what speaks for one label, and how much each frame
        mattered.

        Args:
            video: a video file.
            label: one of the model's labels for what speaks for it; left out, everything it looked at.
            opacity: of the overlay, 0 to 1.
        """
        recognizer = self._loading.wait()
        progress(0.1, desc="Reading the video")
        clip = recognizer.read(given(video))
        progress(0.3, desc="Looking at its frames")
        wanted = None if label in (None, "", OVERALL) else named(str(label), recognizer.labels)
        explanation = recognizer.explain(clip, label=wanted)
        progress(0.8, desc="Drawing")
        return overlays(explanation, opacity), explanation.to_dict(), explanation

    @told
    def redraw(self, explanation: Explanation | None, opacity: float) -> Any:
        """The overlays of an explanation at another opacity."""
        return overlays(explanation, opacity) if explanation else gr.skip()

    @told
    @on_gpu
    def check(self, explanation: Explanation | None) -> str:
        """Masks what a map marks and compares with masking at random, in words."""
        if explanation is None:
            return "Show a map first."
        return self._loading.wait().faithfulness(explanation).sentence

    @told
    @on_gpu
    def timeline(self, video: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        """Follows a long video: which action when, as segments with start, end, label and probability.

        Args:
            video: a video file.
        """
        recognizer = self._loading.wait()
        path = given(video)
        deadline = time.monotonic() + self._settings.seconds
        progress(0, desc="Reading the video")
        for timeline in recognizer.follow(path):
            done = len(timeline.answers)
            progress((done, timeline.num_windows), desc="Looking at windows of it", unit="windows")
            finished = timeline.is_complete or time.monotonic() > deadline
            yield timeline_outputs(timeline, Path(path).stem, finished)
            if finished:
                return

    @told
    @on_gpu
    def compare(self, video: str | None, progress: gr.Progress = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        """The same video under the paper's three ways to take frames, and under a second model where one is set.

        Args:
            video: a video file.
        """
        path = given(video)
        runs: list[tuple[str, Prediction]] = []
        for number, recognizer in enumerate(filter(None, (self._loading, self._second))):
            ready = recognizer.wait()
            for sampler in PAPER_SAMPLERS if number == 0 else (None,):
                progress(len(runs) / 4, desc=f"Taking frames: {sampler or 'as the second model does'}")
                name = sampler if number == 0 else ready.loaded.checkpoint.name
                runs.append((str(name), ready(path, sampler=sampler)))
        return (agreement(runs), comparison(runs), [frame for _, run in runs for frame in gallery(run.clip)])

    @told
    def labels(self) -> list[str]:
        """The labels that the model knows."""
        return list(self._loading.wait().labels)

    @told
    def model(self) -> dict[str, Any]:
        """Which model answers: its id, revision, how it takes clips, and what its user should know."""
        return self._loading.wait().loaded.to_dict()

    @told
    def preview(self, video: str | None) -> Any:
        """Something that a browser can play, of any file that can be read."""
        if video is None:
            return gr.Video(value=None, visible=False)
        from hmdb.preview import make_preview, plays_in_browser

        if plays_in_browser(video):
            return gr.Video(value=video, visible=True)
        with tempfile.TemporaryDirectory() as folder:
            return gr.Video(value=served(make_preview(video, Path(folder) / "preview")), visible=True)

    def describe(self) -> str:
        """Which weights answer, and what their user should know about them."""
        try:
            loaded = self._loading.wait().loaded
        except HmdbError as error:
            return f"**No model could be loaded.** {error}"
        checkpoint = loaded.checkpoint
        at = f" at revision `{checkpoint.revision[:12]}`" if checkpoint.revision else ""
        notes = "".join(f"\n\n**Note:** {note}" for note in loaded.notes)
        known = ", ".join(map(readable, loaded.labels))
        return (
            f"Answers come from `{checkpoint.name}`{at}, which knows {len(loaded.labels)} actions.{notes}\n\n"
            f"<details><summary>The {len(loaded.labels)} actions</summary>{known}</details>"
        )


def build_demo(
    recognizer: Recognizer | Loading, second: Recognizer | Loading | None = None, settings: Settings | None = None
) -> gr.Blocks:
    """The page.

    Args:
        recognizer: answers.
        second: is set beside it in the tab Compare.
        settings: what a visitor may cost; those of the environment, if not given.
    """
    settings = settings or Settings.from_environment()
    do = Handlers(loaded_later(recognizer), loaded_later(second) if second else None, settings)
    heavy: dict[str, Any] = {"concurrency_limit": settings.at_once, "concurrency_id": "heavy"}
    demo = gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(settings.keep_seconds // 4 + 1, settings.keep_seconds)
    )
    with demo:
        gr.Markdown(f"# {TITLE}\n{INTRO}")
        weights = gr.Markdown("Loading the model ...", elem_id="weights", container=False)
        with gr.Tab("Upload"):
            with gr.Row(equal_height=False):
                with gr.Column():
                    upload = upload_with_preview(do)
                    buttons = start_and_cancel("Name the action")
                    if EXAMPLES:
                        example_clips(upload)
                answer = Answer.beside()
            answer.below(do, upload, buttons, heavy, public=True)
        with gr.Tab("Webcam"):
            gr.Markdown(
                "Record a few seconds of yourself. The recording is sent here, answered and deleted; its sound is "
                "ignored, though your browser may ask for the microphone too.",
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
        demo.load(do.describe, None, weights, api_visibility="private", show_progress="hidden")
        demo.load(None, js=NAME_EXAMPLES, api_visibility="private")
        # Not for the page, for the API alone.
        gr.Button(visible=False).click(do.labels, None, gr.JSON(label="Labels", visible=False), api_name="labels")
        gr.Button(visible=False).click(do.model, None, gr.JSON(label="Model", visible=False), api_name="model")
    demo.queue(max_size=settings.max_waiting)
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
                    choices=[OVERALL],
                    value=OVERALL,
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
            explanation = gr.State(None, time_to_live=600)
        with gr.Accordion("The answer as JSON", open=False):
            answer = gr.JSON(label="Answer")
        start, cancel = buttons
        asked = start.click(
            do.predict, video, [self.action, self.words, self.top, frames, answer], api_name="predict", **seen, **heavy
        )
        cancels(cancel, asked, self.words)
        asked.success(choices, answer, label, api_visibility="private", show_progress="hidden")
        if public:  # to the API a label is any text: the dropdown learns its choices from an answer
            text = gr.Textbox(OVERALL, label="label", visible=False)
            gr.Button(visible=False).click(
                do.explain, [video, text, opacity], [maps, explained, explanation], api_name="explain", **heavy
            )
        shown = show.click(
            do.explain, [video, label, opacity], [maps, explained, explanation], api_visibility="private", **heavy
        )
        shown.success(lambda: "", None, checked, api_visibility="private", show_progress="hidden")
        opacity.release(do.redraw, [explanation, opacity], maps, api_visibility="private", show_progress="hidden")
        check.click(do.check, explanation, checked, api_visibility="private", **heavy)


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


def cancels(button: gr.Button, event: Any, words: gr.Markdown) -> None:
    """The button takes a visitor out of the queue, or ends the work that is under way."""
    button.click(lambda: "Cancelled.", None, words, cancels=[event], api_visibility="private", queue=False)


def example_clips(upload: gr.File) -> None:
    clips = gr.Dataset(
        components=[gr.Video(render=False)],
        samples=[[str(path)] for path in EXAMPLES],
        label="Examples (drawings, made for this page)",
        type="index",
        samples_per_page=len(EXAMPLES),
        elem_classes="examples",
    )
    clips.click(lambda index: str(EXAMPLES[index]), clips, upload, api_visibility="private", show_progress="hidden")


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
    cancels(cancel, asked, words)


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
    cancels(cancel, asked, words)


def served(path: Path) -> str:
    """A copy of a file where Gradio serves from and cleans up."""
    return str(save_file_to_cache(path, cache_dir=get_upload_folder()))


def loaded_later(recognizer: Recognizer | Loading) -> Loading:
    return recognizer if isinstance(recognizer, Loading) else Loading(lambda: recognizer)


def given(video: str | None) -> str:
    if not video:
        raise gr.Error("Choose or record a video first.", print_exception=False)
    return video


def named(label: str, labels: tuple[str, ...]) -> str:
    """The model's label for one that is written as people write it."""
    return next((known for known in labels if label in (known, readable(known))), label)


def choices(answer: dict[str, Any]) -> Any:
    """The labels that an explanation can be about: those of the answer first."""
    return gr.Dropdown(choices=[OVERALL, *(readable(each["label"]) for each in answer["top"])], value=OVERALL)


def confidences(prediction: Prediction) -> dict[str, float]:
    """The top five for gr.Label."""
    return dict(zip(map(readable, prediction.labels), prediction.probabilities, strict=True))


def chart(prediction: Prediction) -> pd.DataFrame:
    """The top five for gr.BarPlot: columns action, probability."""
    return pd.DataFrame(confidences(prediction).items(), columns=["action", "probability"])


def verdict(prediction: Prediction, num_labels: int) -> str:
    """The answer in a sentence, with what is uncertain about it."""
    sentence = f"Probably **{readable(prediction.label)}**, at {prediction.probability:.0%}."
    if not prediction.is_known:
        sentence = (
            f"This clip may show **none of the {num_labels} actions**. The likeliest of them, "
            f"{readable(prediction.label)}, gets only {prediction.probability:.0%}."
        )
    return " ".join((sentence, *prediction.clip.notes))


def gallery(clip: Clip) -> list[tuple[Image.Image, str]]:
    """The frames of a clip with their captions, small enough to send."""
    return list(zip(map(small, clip.pixels), map(caption, clip.frames), strict=True))


def small(pixels: Any) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((FRAME_SIDE, FRAME_SIDE))
    return image


def caption(frame: ClipFrame) -> str:
    """ "0.53 s · reversed"; a folder of frames has no clock, so there the frame's number."""
    moment = f"frame {frame.sources[0]}" if frame.seconds is None else f"{frame.seconds:.2f} s"
    return f"{moment} · {frame.kind}"


def overlays(explanation: Explanation, opacity: float) -> list[tuple[Image.Image, str]]:
    """The frames under their map, each with a bar for how much it mattered."""
    from hmdb.figures import importance_bars, overlay

    clip = explanation.prediction.clip
    drawn = overlay(clip.pixels, explanation.heat, opacity=opacity, region=explanation.region)
    drawn = importance_bars(drawn, explanation.frame_importance)
    captions = [
        f"{caption(frame)} · mattered {share:.0%}"
        for frame, share in zip(clip.frames, explanation.frame_importance, strict=True)
    ]
    return list(zip(map(small, drawn), captions, strict=True))


def timeline_outputs(timeline: Timeline, name: str, finished: bool) -> tuple[Any, ...]:
    """Words, chart, table, files (once finished) and JSON of a timeline."""
    from hmdb.figures import timeline_chart

    words = f"Looked at {len(timeline.answers)} of {timeline.num_windows} windows."
    if timeline.coverage < 1 and timeline.is_complete:
        words += f" They cover {timeline.coverage:.0%} of the video, as it is long."
    if finished and not timeline.is_complete:
        words += " Stopped there, as it took too long; a shorter video or a faster machine gets to the end."
    rows = [
        (
            segment.start_frame if segment.start_seconds is None else round(segment.start_seconds, 2),
            segment.end_frame if segment.end_seconds is None else round(segment.end_seconds, 2),
            readable(segment.label or "none of these"),
            round(segment.probability, 3),
        )
        for segment in timeline.segments
    ]
    files = None
    if finished:
        texts = {"json": timeline.to_json(), "csv": timeline.to_csv(), "srt": timeline.to_srt()}
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{name}.{suffix}") for suffix in texts]
            for path, text in zip(paths, texts.values(), strict=True):
                path.write_text(text, encoding="utf-8")
            files = [served(path) for path in paths]
    return words, timeline_chart(timeline), rows, files, timeline.to_dict()


def comparison(runs: list[tuple[str, Prediction]]) -> pd.DataFrame:
    """A column for each run, a row for each rank."""
    return pd.DataFrame(
        {name: [f"{label} {probability:.0%}" for label, probability in confidences(run).items()] for name, run in runs}
    )


def agreement(runs: list[tuple[str, Prediction]]) -> str:
    """Whether the runs answer alike, in words."""
    answers = {name: readable(run.label) for name, run in runs}
    if len(set(answers.values())) == 1:
        return f"All {len(runs)} agree: **{readable(runs[0][1].label)}**."
    return "They differ: " + ", ".join(f"{name} says **{label}**" for name, label in answers.items()) + "."


settings = Settings.from_environment()
loading = Loading(load_recognizer)
second = Loading(functools.partial(load_recognizer, settings.compare)) if settings.compare else None
demo = build_demo(loading, second, settings)
if ZERO_GPU:  # what is on the GPU before the first visitor comes is there for all of them
    loading.wait()


def serve(demo: gr.Blocks, settings: Settings, **options: Any) -> str:
    """Puts the page up and returns its address."""
    _, url, _ = demo.launch(
        theme=gr.themes.Soft(),
        css=CSS,
        max_file_size=settings.max_upload,
        allowed_paths=[str(path) for path in EXAMPLES],
        show_error=False,
        run_history=False,
        enable_monitoring=False,
        state_session_capacity=SESSIONS,
        mcp_server=True,
        prevent_thread_lock=True,
        **options,
    )
    return url


def main() -> None:
    """Serves the page, and loads the model once it is up."""
    serve(demo, settings)
    loading.start()
    demo.block_thread()


if __name__ == "__main__":
    main()
