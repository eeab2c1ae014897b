"""The Space: a page that names the action in a video, shows why, and follows long ones through.

Every handler is a few lines: it asks the recognizer, which knows nothing of pages, and hands what comes
back to components. What goes wrong on purpose (HmdbError) reaches the visitor as one line.
"""

from __future__ import annotations

import functools
import html
import json
import logging
import os
import re
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
import pandas as pd
from gradio.context import LocalContext
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

from hmdb.clip import Clip, ClipFrame, Prediction
from hmdb.errors import DataError, HmdbError, StoppedError, VideoError
from hmdb.labels import readable
from hmdb.limits import FromEnvironment
from hmdb.memory import keep_freed_memory

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
FRAME_SIDE = 480  # pixels, the longest side of a frame in a gallery
FRAME_QUALITY = 88  # of its JPEG
EXAMPLES_FOLDER = Path(__file__).parent / "examples"
EXAMPLES = sorted(EXAMPLES_FOLDER.glob("*.mp4"))

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

log = logging.getLogger(__name__)

# Gradio gives the buttons of a dataset of videos no names, and people who cannot see them need some.
NAME_EXAMPLES = f"""() => {{
    const names = {json.dumps([readable(path.stem) for path in EXAMPLES])};
    document.querySelectorAll("button.gallery-item").forEach(
        (button, index) => button.setAttribute("aria-label", `Example: ${{names[index]}}`));
}}"""


@dataclass(frozen=True, kw_only=True)
class Settings(FromEnvironment):
    """What a visitor may cost. HMDB_MAX_WAITING sets `max_waiting`, and so on for each name.

    Attributes:
        max_upload_mb: the largest file, in MB.
        max_waiting: visitors in the queue; further ones are told to come back.
        at_once: answers that are worked on at the same time.
        seconds: that one answer may take; a long video is left unfinished then, and what is known is shown.
        windows: of a long video that are looked at, at most.
        keep_seconds: until uploads and results are deleted.
        compare: a second checkpoint, Hub id or folder, to set beside the first; none by default.
        dtype: the arithmetic, as `Recognizer` takes it; int8 only for checkpoints that lose little by it.
    """

    prefix = "HMDB_"

    max_upload_mb: int = 50
    max_waiting: int = 32
    at_once: int = 1
    seconds: float = 120.0
    windows: int = 48
    keep_seconds: int = 3600
    compare: str = ""
    dtype: str = "auto"


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


def load_recognizer(model: str | None = None, dtype: str = "auto") -> Recognizer:
    """A model for visitors. Where int8 is asked for and is not for this one, its notes say why.

    Raises:
        HmdbError: it cannot be loaded, or there is no such dtype.
    """
    from transformers.utils.logging import disable_progress_bar

    from hmdb.model import load
    from hmdb.recognizer import Recognizer

    disable_progress_bar()  # type: ignore[no-untyped-call]
    loaded = load(model)
    if dtype == "int8" and loaded.no_int8:
        note = f"int8 is not in use: {loaded.no_int8}"
        log.warning(note)
        loaded, dtype = replace(loaded, notes=(*loaded.notes, note)), "auto"
    return Recognizer.of(loaded, dtype)


def on_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, on a GPU that is lent for its duration, on Spaces that lend one (ZeroGPU).

    There it runs in a forked process, so arguments and results travel as pickles: a recognizer does not.
    """
    try:
        import spaces
    except ImportError:
        return function
    lent: Callable[..., Any] = spaces.GPU(duration=GPU_SECONDS)(function)
    return lent


_loadings: list[Loading] = []  # by number, so that the forked process finds what it inherited


@on_gpu
def _ask(number: int, method: str, *arguments: Any, **options: Any) -> Any:
    try:
        return getattr(_loadings[number].wait(), method)(*arguments, **options)
    except HmdbError as error:  # as a result: of an exception, only its type would come back from the other process
        return error


@on_gpu
def _follow(number: int, *arguments: Any, **options: Any) -> Iterator[Any]:
    try:
        yield from _loadings[number].wait().follow(*arguments, **options)
    except HmdbError as error:
        yield error


class Lent:
    """A recognizer whose network runs where there is a GPU for it."""

    def __init__(self, loading: Loading) -> None:
        self._loading = loading
        self._number = len(_loadings)
        _loadings.append(loading)

    def here(self) -> Recognizer:
        """The recognizer itself, for all that needs no network."""
        return self._loading.wait()

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """What a method of the recognizer returns."""
        self.here()
        return raised(_ask(self._number, method, *arguments, **options))

    def follow(self, *arguments: Any, **options: Any) -> Iterator[Timeline]:
        self.here()
        yield from map(raised, _follow(self._number, *arguments, **options))


def raised(result: Any) -> Any:
    """A result, unless it is an error: that is raised."""
    if isinstance(result, HmdbError):
        raise result
    return result


class Turn:
    """The answering of one request, which ends at its deadline or when its visitor cancels."""

    def __init__(self, session: str, seconds: float) -> None:
        self.session = session
        self.cancelled = False
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def check(self) -> None:
        """
        Raises:
            StoppedError: it is over.
        """
        if self.cancelled:
            raise StoppedError("Cancelled.")
        if time.monotonic() > self._deadline:
            raise StoppedError(f"This took longer than {self._seconds:g} seconds. Try a shorter video.")


class Turns:
    """Who is being answered: so many at a time.

    Gradio forgets an event that is cancelled, but not the thread that works on it. That one counts
    until it ends, at the next layer of the network.
    """

    def __init__(self, at_once: int, seconds: float) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._seconds = seconds
        self._begun: weakref.WeakSet[Turn] = weakref.WeakSet()

    def begin(self) -> Turn:
        turn = Turn(_session(), self._seconds)
        self._begun.add(turn)
        return turn

    @contextmanager
    def step(self, turn: Turn) -> Iterator[None]:
        """Waits until there is room for a step of this answer, and lets the network ask whether to go on.

        An answer in steps holds no room between them: Gradio may never ask for the next.
        """
        from hmdb.attention import stoppable

        with self._free, stoppable(turn.check):
            yield

    def cancel(self) -> None:
        """Ends what is under way for this visitor."""
        for turn in list(self._begun):
            if turn.session == _session():
                turn.cancelled = True


def _session() -> str:
    request = LocalContext.request.get(None)
    return (request.session_hash if request else None) or ""


def told(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, telling the visitor in one line what went wrong on purpose."""

    @functools.wraps(handler)
    def answer(*arguments: Any, **options: Any) -> Any:
        try:
            return handler(*arguments, **options)
        except HmdbError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return answer


def in_turn(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, a generator of what it knows so far, as `told` and in its turn."""

    @functools.wraps(handler)
    def answer(self: Handlers, *arguments: Any, **options: Any) -> Iterator[Any]:
        try:
            self.wait()  # loading the model, which may be a download, is no part of anybody's turn
            turn = self.turns.begin()
            with closing(handler(self, *arguments, **options)) as results:
                while True:
                    with self.turns.step(turn):
                        try:
                            result = next(results)
                        except StopIteration:
                            return
                    yield result
        except HmdbError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return answer


class Handlers:
    """What the page, the API and the tools do.

    Nothing here belongs to one visitor: what a handler knows it was given.
    """

    def __init__(self, loading: Loading, second: Loading | None, settings: Settings) -> None:
        self._first = Lent(loading)
        self._second = Lent(second) if second else None
        self._settings = settings
        self.turns = Turns(settings.at_once, settings.seconds)

    def wait(self) -> None:
        """Returns once the model that answers is there.

        Raises:
            HmdbError: it cannot be loaded.
        """
        self._first.here()

    @in_turn
    def predict(self, video: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        """Names the action in a short video: the five likeliest labels with their probabilities.

        Args:
            video: a video file.
        """
        recognizer = self._first.here()
        progress(0.1, desc="Reading the video")
        clip = recognizer.read(given(video))
        progress(0.4, desc="Looking at its frames")
        prediction = self._first.ask("predict", clip)
        yield (
            confidences(prediction),
            verdict(prediction, len(recognizer.labels)),
            chart(prediction),
            gallery(clip),
            prediction.to_dict(),
        )

    @in_turn
    def explain(
        self,
        video: str | None,
        label: str | None = OVERALL,
        opacity: float = 0.7,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:
        """Shows where in the frames the model looked, or what speaks for one label, and how much each frame
        mattered.

        Args:
            video: a video file.
            label: one of the model's labels for what speaks for it; left out, everything it looked at.
            opacity: of the overlay, 0 to 1.
        """
        explanation = self._explanation(video, label, progress)
        progress(0.8, desc="Drawing")
        yield overlays(explanation, opacity), explanation.to_dict()

    @in_turn
    def check(
        self,
        video: str | None,
        label: str | None = OVERALL,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[str]:
        """Says in words whether such a map means anything: masks what it marks, and as much at random.

        Args:
            video: a video file.
            label: as for the map.
        """
        explanation = self._explanation(video, label, progress)
        progress(0.5, desc="Masking what it marks, and as much at random")
        yield shown(self._first.ask("faithfulness", explanation).sentence)

    def _explanation(self, video: str | None, label: str | None, progress: gr.Progress) -> Explanation:
        recognizer = self._first.here()
        progress(0.1, desc="Reading the video")
        clip = recognizer.read(given(video))
        progress(0.3, desc="Looking at its frames")
        wanted = None if label in (None, "", OVERALL) else named(str(label), recognizer.labels)
        explanation: Explanation = self._first.ask("explain", clip, label=wanted)
        return explanation

    @in_turn
    def timeline(self, video: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        """Follows a long video: which action when, as segments with start, end, label and probability.

        Args:
            video: a video file.
        """
        path, timeline = given(video), None
        name = Path(path).stem
        lease = time.monotonic() + 0.9 * GPU_SECONDS if ZERO_GPU else float("inf")
        progress(0, desc="Reading the video")
        try:
            for timeline in self._first.follow(path, max_windows=self._settings.windows):
                done = len(timeline.answers)
                progress((done, timeline.num_windows), desc="Looking at windows of it", unit="windows")
                if timeline.is_complete or time.monotonic() > lease:
                    break
                yield timeline_outputs(timeline, name, finished=False)
        except StoppedError:
            if timeline is None:
                raise
        if timeline is not None:
            yield timeline_outputs(timeline, name, finished=True)

    @in_turn
    def compare(self, video: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        """The same video under the paper's three ways to take frames, and under a second model where one is set.

        Args:
            video: a video file.
        """
        path = given(video)
        plan: list[tuple[str, Lent, str | None]] = [(sampler, self._first, sampler) for sampler in self._samplers()]
        if self._second:
            checkpoint = self._second.here().loaded.checkpoint
            plan.append((checkpoint.name, self._second, None))
        runs: list[tuple[str, Prediction]] = []
        for name, model, sampler in plan:
            progress((len(runs), len(plan)), desc=f"Taking frames: {name}", unit="runs")
            runs.append((name, model.ask("predict", model.here().read(path, sampler=sampler))))
        yield agreement(runs), comparison(runs), [frame for _, run in runs for frame in gallery(run.clip)]

    def _samplers(self) -> list[str]:
        """The paper's three, and the checkpoint's own where it has another."""
        return list(dict.fromkeys((*PAPER_SAMPLERS, self._first.here().loaded.clip_spec.sampler)))

    @told
    def labels(self) -> list[str]:
        """The labels that the model knows."""
        return list(self._first.here().labels)

    @told
    def model(self) -> dict[str, Any]:
        """Which model answers: its id, revision, how it takes clips, its arithmetic and whether int8 is offered,
        and what its user should know.
        """
        recognizer = self._first.here()
        return {**recognizer.loaded.to_dict(), "dtype": recognizer.dtype}

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

    def cancel(self) -> str:
        """Ends what is under way for this visitor."""
        self.turns.cancel()
        return "Cancelled."

    def describe(self) -> tuple[str, str]:
        """Which weights answer and what their user should know about them; the actions they know."""
        try:
            loaded = self._first.here().loaded
        except HmdbError as error:
            return f"**No model could be loaded.** {shown(str(error))}", ""
        checkpoint = loaded.checkpoint
        at = f" at revision {checkpoint.revision[:12]}" if checkpoint.revision else ""
        notes = "".join(f"\n\n**Note:** {shown(note)}" for note in loaded.notes)
        answers = (
            f"Answers come from **{shown(checkpoint.name)}**{at}, which knows {len(loaded.labels)} actions.{notes}"
        )
        return answers, ", ".join(shown(readable(label)) for label in loaded.labels)


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
        with gr.Accordion("The actions it knows", open=False):
            actions = gr.Markdown()
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
        with gr.Accordion("The answer as JSON", open=False):
            answer = gr.JSON(label="Answer")
        start, cancel = buttons
        asked = start.click(
            do.predict, video, [self.action, self.words, self.top, frames, answer], api_name="predict", **seen, **heavy
        )
        asked.success(choices, answer, label, api_visibility="private", show_progress="hidden")
        if public:  # to the API a label is any text: the dropdown learns its choices from an answer
            text = gr.Textbox(OVERALL, label="label", visible=False)
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


def served(path: Path) -> str:
    """A copy of a file where Gradio serves from and cleans up."""
    return str(save_file_to_cache(path, cache_dir=get_upload_folder()))


def loaded_later(recognizer: Recognizer | Loading) -> Loading:
    return recognizer if isinstance(recognizer, Loading) else Loading(lambda: recognizer)


def given(video: str | None) -> str:
    if not video:
        raise VideoError("Choose or record a video first.")
    return video


def shown(text: str) -> str:
    """Text from elsewhere, as it is: without the meaning that HTML or Markdown would give to parts of it."""
    return re.sub(r"([\\`*_\[\]()!~|])", r"\\\1", html.escape(text, quote=False))


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
    name = shown(readable(prediction.label))
    sentence = f"Probably **{name}**, at {prediction.probability:.0%}."
    if not prediction.is_known:
        sentence = (
            f"This clip may show **none of the {num_labels} actions**. The likeliest of them, "
            f"{name}, gets only {prediction.probability:.0%}."
        )
    return " ".join((sentence, *map(shown, prediction.clip.notes)))


Gallery = list[tuple[str, str]]  # files and captions


def gallery(clip: Clip) -> Gallery:
    """The frames of a clip with their captions."""
    return pictures(clip.pixels, map(caption, clip.frames))


def pictures(pixels: Iterable[np.ndarray], captions: Iterable[str]) -> Gallery:
    """Pictures, small enough to send, in files of this answer alone.

    Left to Gradio, the same picture of two visitors would be one file, written again while it is read, and
    WebP, which takes longer to write than the network to answer.
    """
    folder = picture_folder()
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for frame, words in zip(pixels, captions, strict=True):
        image = Image.fromarray(frame)
        image.thumbnail((FRAME_SIDE, FRAME_SIDE))
        path = folder / f"{uuid.uuid4().hex}.jpg"
        image.save(path, quality=FRAME_QUALITY)
        found.append((str(path), words))
    return found


def picture_folder() -> Path:
    return Path(get_upload_folder()) / "pictures"


def delete_old_pictures(keep_seconds: float) -> None:
    """Gradio does so with what an answer has brought to a visitor, but does not know of one that was cancelled."""
    for path in picture_folder().glob("*.jpg"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > keep_seconds:
                path.unlink()


def caption(frame: ClipFrame) -> str:
    """ "0.53 s · reversed"; a folder of frames has no clock, so there the frame's number."""
    moment = f"frame {frame.sources[0]}" if frame.seconds is None else f"{frame.seconds:.2f} s"
    return f"{moment} · {frame.kind}"


def overlays(explanation: Explanation, opacity: float) -> Gallery:
    """The frames under their map, each with a bar for how much it mattered."""
    from hmdb.figures import importance_bars, overlay

    clip = explanation.prediction.clip
    drawn = overlay(clip.pixels, explanation.heat, opacity=opacity, region=explanation.region)
    drawn = importance_bars(drawn, explanation.frame_importance)
    captions = [
        f"{caption(frame)} · mattered {share:.0%}"
        for frame, share in zip(clip.frames, explanation.frame_importance, strict=True)
    ]
    return pictures(drawn, captions)


def timeline_outputs(timeline: Timeline, name: str, *, finished: bool) -> tuple[Any, ...]:
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
        texts = {"json": timeline.to_json(), "csv": timeline.to_csv()}
        if timeline.has_clock:
            texts["srt"] = timeline.to_srt()
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
    answers = {shown(name): shown(readable(run.label)) for name, run in runs}
    if len(set(answers.values())) == 1:
        return f"All {len(runs)} agree: **{shown(readable(runs[0][1].label))}**."
    return "They differ: " + ", ".join(f"{name} says **{label}**" for name, label in answers.items()) + "."


try:
    settings = Settings.from_environment()
except DataError as error:
    raise SystemExit(str(error)) from error
loading = Loading(functools.partial(load_recognizer, dtype=settings.dtype))
second = Loading(functools.partial(load_recognizer, settings.compare, settings.dtype)) if settings.compare else None
demo = build_demo(loading, second, settings)
if ZERO_GPU:  # what is on the GPU before the first visitor comes is there for all of them
    for each in filter(None, (loading, second)):
        each.wait()


def serve(demo: gr.Blocks, settings: Settings, **options: Any) -> str:
    """Puts the page up and returns its address."""
    _, url, _ = demo.launch(
        theme=gr.themes.Soft(),
        css=CSS,
        max_file_size=f"{settings.max_upload_mb}mb",
        allowed_paths=[str(EXAMPLES_FOLDER)],  # not its files: Gradio holds every file of an answer against each
        show_error=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=True,
        prevent_thread_lock=True,
        **options,
    )
    return url


def keep_clean(keep_seconds: int) -> None:
    while True:
        time.sleep(keep_seconds / 4)
        delete_old_pictures(keep_seconds)


def main() -> None:
    """Serves the page, and loads the model once it is up."""
    keep_freed_memory()
    serve(demo, settings)
    threading.Thread(target=keep_clean, args=(settings.keep_seconds,), name="keep-clean", daemon=True).start()
    loading.start()
    demo.block_thread()


if __name__ == "__main__":
    main()
