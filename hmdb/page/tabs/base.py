"""What every tab with a video does: a new video empties the old answer and is answered at once."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from hmdb.errors import HmdbError
from hmdb.page.server.file_store import FILES
from hmdb.page.server.gradio_patches import pass_upload_path
from hmdb.page.server.session import PerSession
from hmdb.page.service.handlers import Handlers
from hmdb.page.views.formatting import busy_html, error_html, headline_html

HEIGHT = 285  # pixels of a player, and of what stands beside it

FORGOTTEN = "The page has forgotten this video, since many others came after it. Choose it again."

Updates = dict[Any, Any]  # components and what they show from now on

THUMBNAIL_ROW: dict[str, Any] = {
    "show_label": False,
    "container": False,
    "columns": 8,
    "height": "auto",
    "allow_preview": False,
    "buttons": [],
}
INTERNAL: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
IMMEDIATE: dict[str, Any] = {**INTERNAL, "queue": False, "trigger_mode": "multiple"}  # it needs no network
QUEUED: dict[str, Any] = {**INTERNAL, "trigger_mode": "multiple"}  # a new question ends the old one by itself
BARE_HTML: dict[str, Any] = {"padding": False, "apply_default_css": False}  # of gr.HTML


@dataclass(eq=False)
class CurrentVideo:
    """What a visitor has chosen to be answered.

    Attributes:
        path: of the video; None after it was cleared.
        begun: whether it is being answered, or was.
    """

    path: str | None
    begun: bool = False


class Panel(ABC):
    """A video and its answer.

    Attributes:
        source: the path of the video; a state, which stays on the server.
        words: the headline, or what went wrong; to be rendered where it belongs, as is `clear`.
        upload: where a file is dropped; None where a camera is the source.
        player: plays the video.
        empty: what the components of the answer show while there is none.
    """

    upload: gr.File | None = None
    player: gr.Video
    empty: Updates

    def __init__(self, do: Handlers, heavy: dict[str, Any], invitation: str) -> None:
        self.do = do
        self.heavy = heavy
        self.invitation = headline_html("", invitation)
        self.source = gr.State()
        self.words = gr.HTML(self.invitation, render=False, **BARE_HTML)
        self.clear = gr.Button("Clear", size="sm", visible=False, render=False)
        self._choices = PerSession[CurrentVideo]()

    @abstractmethod
    def steps(self, path: str) -> Iterator[Updates]:
        """The answer, as far as it is known."""

    def answers(self, video: gr.File | gr.Video, *triggers: Any) -> None:
        """Answers what `video` holds after these of its events."""
        taken = gr.on(triggers, self.take, video, self.outputs, **IMMEDIATE)
        self.answer_after(taken)
        self.clear.click(lambda: self.take(None), None, self.outputs, **IMMEDIATE)

    def answer_after(self, taken: Any) -> None:
        taken.then(self.run, self.source, self.outputs, **QUEUED, **self.heavy)

    def take(self, path: str | None) -> Updates:
        """Ends the answering of the old video, and empties its answer."""
        self._choices.put(CurrentVideo(path))
        self.do.cancel(self)
        return {
            **self.empty,
            **self.emptied(path),
            self.source: path,
            self.words: busy_html() if path else self.invitation,
            self.clear: gr.update(visible=bool(path)),
        }

    def emptied(self, path: str | None) -> Updates:
        """The player without the old video, and room for the next file. A camera's player has the new one already."""
        if self.upload is None:
            return {self.player: None} if path is None else {}
        return {self.upload: None, self.player: gr.update(value=None, visible=False)}

    def played(self, path: str) -> Updates:
        """The player with the video, if a browser plays it as it is."""
        plays = self.upload is not None and any(self.do.plays(path, asker=self))
        return {self.player: gr.update(value=path, visible=True)} if plays else {}

    def preview(self, path: str) -> Updates:
        """The player with something in place of a video that a browser does not play. Without it the answer stands."""
        try:
            films = list(self.do.preview(path, asker=self))
        except HmdbError as error:
            gr.Warning(f"The video cannot be played here. {html.escape(str(error))}")
            return {}
        return {self.player: gr.update(value=films[0], visible=True)} if films else {}

    @property
    def has_choice(self) -> bool:
        """Whether this visitor has chosen something, if only to clear it."""
        return self._choices.get() is not None

    def run(self, path: str | None) -> Iterator[Updates]:
        """Answers what the visitor chose last, once. `path` may be older: events overtake one another."""
        yield from cumulative(self._chosen(path), self.words)

    def _chosen(self, path: str | None) -> Iterator[Updates]:
        choice = self._choices.get() or CurrentVideo(path)
        if choice.path and not choice.begun:
            choice.begun = True
            yield {self.source: choice.path}
            for step in self._answered(choice.path):
                if self._choices.get() not in (None, choice):
                    return
                yield step

    def _answered(self, path: str) -> Iterator[Updates]:
        leave = self.empty  # the answer before may reach the browser after it was emptied
        try:
            with FILES.pin(path):
                yield self.played(path)
                for step in self.steps(path):
                    yield step
                    leave = {}
        except HmdbError as error:
            yield {**leave, self.words: error_html(error)}

    @property
    def outputs(self) -> list[Any]:
        upload = [self.upload] if self.upload else []
        return [*upload, self.player, self.source, self.words, self.clear, *self.empty]


def cumulative(steps: Iterable[Updates], one: Any) -> Iterator[Updates]:
    """What each step shows, together with what those before it do: of two that come fast one upon the other a slow
    browser drops the first.

    Args:
        one: of the components, which is left as it is where there is no step: Gradio would empty them all.
    """
    shown: Updates = {}
    for step in filter(None, steps):
        shown = shown | {component: _joined(shown.get(component), update) for component, update in step.items()}
        yield shown
    if not shown:
        yield {one: gr.skip()}


def _joined(earlier: Any, later: Any) -> Any:
    """Two updates of one component as one; a value takes the place of all before it."""
    are_updates = all(isinstance(each, dict) and "__type__" in each for each in (earlier, later))
    return {**earlier, **later} if are_updates else later


def render_here(component: gr.components.Component) -> None:
    """Shows a component here that was made before."""
    component.render()  # type: ignore[no-untyped-call]


def drop_zone() -> gr.File:
    """For files of any type: the first bytes decide, not the name."""
    return pass_upload_path(
        gr.File(label="Your video", show_label=False, height=120, min_width=180, elem_classes="drop")
    )


def video_player(label: str) -> gr.Video:
    """To be rendered where it belongs, as is `recorder`."""
    return gr.Video(
        label=label,
        interactive=False,
        buttons=[],
        height=HEIGHT,
        visible=False,
        elem_classes="player",
        render=False,
    )


def recorder(label: str) -> gr.Video:
    return gr.Video(
        label=label,
        sources=["webcam"],
        # Mirroring, and leaving out the sound, would need an ffmpeg program on the server.
        webcam_options=gr.WebcamOptions(mirror=False, constraints={"video": {"width": 640, "height": 480}}),
        include_audio=True,
        buttons=[],
        height=HEIGHT,
        elem_classes="player",
        render=False,
    )
