"""The Space: a page on which a video is uploaded and its action named, with the frames that were looked at."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import gradio as gr
import pandas as pd
from PIL import Image

from hmdb.clip import Clip, ClipFrame, Prediction
from hmdb.errors import HmdbError
from hmdb.labels import readable

if TYPE_CHECKING:
    from hmdb.recognizer import Recognizer

TITLE = "What are they doing?"
INTRO = (
    "Upload a short video of someone doing something. A video transformer looks at a few frames of it and names "
    "the action. It knows only the actions it was trained on."
)
MAX_UPLOAD = os.environ.get("HMDB_MAX_UPLOAD", "50mb")
MAX_WAITING = int(os.environ.get("HMDB_MAX_WAITING", "32"))  # visitors in the queue
KEEP_FILES = (600, 3600)  # seconds: how often old uploads are looked for, and how old they get
FRAME_SIDE = 480  # pixels, the longest side of a frame in the gallery

CSS = """
.gradio-container {max-width: 1200px !important; margin: 0 auto !important}
#weights {opacity: .8; font-size: .9rem}
"""


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


def load_recognizer() -> Recognizer:
    from transformers.utils.logging import disable_progress_bar

    from hmdb.recognizer import Recognizer

    disable_progress_bar()  # type: ignore[no-untyped-call]
    return Recognizer.from_pretrained()


def build_demo(recognizer: Recognizer | Loading) -> gr.Blocks:
    """The page, answering with this recognizer."""
    loading = recognizer if isinstance(recognizer, Loading) else Loading(lambda: recognizer)

    def predict(video: str | None) -> tuple[Any, ...]:
        """Names the action in a video.

        Args:
            video: the video file, at most 50 MB.
        """
        if video is None:
            raise gr.Error("Choose a video first.", print_exception=False)
        try:
            prediction = loading.wait()(video)
        except HmdbError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return (
            confidences(prediction),
            chart(prediction),
            gallery(prediction.clip),
            prediction.to_dict(),
        )

    demo = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=KEEP_FILES)
    with demo:
        gr.Markdown(f"# {TITLE}\n{INTRO}")
        weights = gr.Markdown("Loading the model ...", elem_id="weights", container=False)
        with gr.Row(equal_height=False):
            with gr.Column():
                video = gr.Video(label="Video", sources=["upload"], height=320)
                button = gr.Button("Name the action", variant="primary")
            with gr.Column():
                action = gr.Label(label="Predicted action", num_top_classes=1)
                top = gr.BarPlot(
                    label="Top five",
                    x="action",
                    y="probability",
                    sort="-y",
                    y_lim=[0, 1],
                    x_title=" ",
                    height=280,
                )
        frames = gr.Gallery(label="The frames it looked at", columns=4, height="auto", object_fit="contain")
        with gr.Accordion("As JSON", open=False):
            answer = gr.JSON(label="Answer")
        button.click(predict, video, [action, top, frames, answer], api_name="predict")
        demo.load(lambda: describe(loading), None, weights, api_visibility="private", show_progress="hidden")
    demo.queue(max_size=MAX_WAITING)
    return demo


def describe(loading: Loading) -> str:
    """Which weights answer, and what their user should know about them."""
    try:
        loaded = loading.wait().loaded
    except HmdbError as error:
        return f"**No model could be loaded.** {error}"
    checkpoint = loaded.checkpoint
    at = f" at revision `{checkpoint.revision[:12]}`" if checkpoint.revision else ""
    notes = "".join(f"\n\n**Note:** {note}" for note in loaded.notes)
    return f"Answers come from `{checkpoint.name}`{at}, which knows {len(loaded.labels)} actions.{notes}"


def confidences(prediction: Prediction) -> dict[str, float]:
    """The top five for gr.Label."""
    return dict(zip(map(readable, prediction.labels), prediction.probabilities, strict=True))


def chart(prediction: Prediction) -> pd.DataFrame:
    """The top five for gr.BarPlot: columns action, probability."""
    return pd.DataFrame(confidences(prediction).items(), columns=["action", "probability"])


def gallery(clip: Clip) -> list[tuple[Image.Image, str]]:
    """The frames of a clip with their captions, small enough to send."""
    images = [Image.fromarray(frame) for frame in clip.pixels]
    for image in images:
        image.thumbnail((FRAME_SIDE, FRAME_SIDE))
    return list(zip(images, map(caption, clip.frames), strict=True))


def caption(frame: ClipFrame) -> str:
    """ "0.53 s · reversed"; a folder of frames has no clock, so there the frame's number."""
    moment = f"frame {frame.sources[0]}" if frame.seconds is None else f"{frame.seconds:.2f} s"
    return f"{moment} · {frame.kind}"


loading = Loading(load_recognizer)
demo = build_demo(loading)


def main() -> None:
    """Serves the page, and loads the model once it is up."""
    demo.launch(
        theme=gr.themes.Soft(),
        css=CSS,
        max_file_size=MAX_UPLOAD,
        show_error=False,
        prevent_thread_lock=True,
    )
    loading.start()
    demo.block_thread()


if __name__ == "__main__":
    main()
