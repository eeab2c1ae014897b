"""Base class of the tabs with a video: a new video empties the old answer and is answered at once."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from hmdb.errors import HmdbError
from hmdb.page.server.gradio_patches import pass_upload_path
from hmdb.page.server.session import PerSession
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.playback import Playback, PreviewError
from hmdb.page.views.formatting import busy_html, error_html, headline_html

HEIGHT = 285  # pixels of a player, and of the components in its row

FORGOTTEN = "The page has forgotten this video, since many others came after it. Choose it again."

Updates = dict[Any, Any]  # components and their new values

THUMBNAIL_ROW: dict[str, Any] = {
    "show_label": False,
    "container": False,
    "columns": 8,
    "height": "auto",
    "allow_preview": False,
    "buttons": [],
}
INTERNAL: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
IMMEDIATE: dict[str, Any] = {**INTERNAL, "queue": False, "trigger_mode": "multiple"}  # for events without a model
SCHEDULED: dict[str, Any] = {"concurrency_limit": None}  # the scheduler limits concurrency, not Gradio
QUEUED: dict[str, Any] = {**INTERNAL, **SCHEDULED, "trigger_mode": "multiple"}  # a new event cancels the old job
BARE_HTML: dict[str, Any] = {"padding": False, "apply_default_css": False}  # for gr.HTML


@dataclass(eq=False)
class CurrentVideo:
    """The video that a visitor chose last.

    Attributes:
        path: None after it was cleared.
        begun: true once its answer is or was in progress.
    """

    path: str | None
    begun: bool = False


class Panel(ABC):
    """A video and its answer.

    Attributes:
        source: the path of the video; a state, which stays on the server.
        words: the headline or an error; the subclass renders it, and `clear`.
        upload: where a file is dropped; None where a camera is the source.
        player: plays the video.
        empty: the values of the answer's components while there is no answer.
    """

    upload: gr.File | None = None
    player: gr.Video
    empty: Updates

    def __init__(self, do: Handlers, invitation: str) -> None:
        self.do = do
        self.invitation = headline_html("", invitation)
        self.source = gr.State()
        self.words = gr.HTML(self.invitation, render=False, **BARE_HTML)
        self.clear = gr.Button("Clear", size="sm", visible=False, render=False)
        self._current = PerSession[CurrentVideo]()

    @abstractmethod
    def updates(self, path: str) -> Iterator[Updates]:
        """Yields the answer as far as it is known."""

    def connect(self, video: gr.File | gr.Video, *triggers: Any) -> None:
        """Answers the value of `video` after these of its events."""
        self.run_after(gr.on(triggers, self.on_new_video, video, self.outputs, **IMMEDIATE))
        self.clear.click(lambda: self.on_new_video(None), None, self.outputs, **IMMEDIATE)

    def run_after(self, event: Any) -> None:
        event.then(self.run, self.source, self.outputs, **QUEUED)

    def on_new_video(self, path: str | None) -> Updates:
        """Cancels the job of the old video, and empties its answer."""
        self._current.put(CurrentVideo(path))
        self.do.cancel(self)
        return {
            **independent(self.empty),
            **self.reset_player(path),
            self.source: path,
            self.words: busy_html() if path else self.invitation,
            self.clear: gr.update(visible=bool(path)),
        }

    def reset_player(self, path: str | None) -> Updates:
        """The player without the old video, and an empty drop zone. A recorder has the new video already."""
        if self.upload is None:
            return {self.player: None} if path is None else {}
        return {self.upload: None, self.player: gr.update(value=None, visible=False)}

    def show_player(self, result: Playback | PreviewError) -> Updates:
        """The player with its file; a recorder plays its own video already. Without a preview the answer stands."""
        if isinstance(result, PreviewError):
            gr.Warning(html.escape(str(result)))
            return {}
        if self.upload is None and not result.is_preview:
            return {}
        return {self.player: gr.update(value=result.path, visible=True)}

    @property
    def has_choice(self) -> bool:
        """True once this visitor has chosen or cleared a video."""
        return self._current.get() is not None

    def run(self, path: str | None) -> Iterator[Updates]:
        """Answers the video that the visitor chose last, once. `path` may be older: events overtake one another."""
        yield from cumulative(self._run(path), self.words)

    def _run(self, path: str | None) -> Iterator[Updates]:
        current = self._current.get() or CurrentVideo(path)
        if not current.path or current.begun:
            return
        current.begun = True
        yield {self.source: current.path}
        for update in self._answer(current.path):
            if self._current.get() not in (None, current):
                return
            yield update

    def _answer(self, path: str) -> Iterator[Updates]:
        shown: Updates = {}
        try:
            for update in self.updates(path):
                shown |= update
                yield update
        except HmdbError as error:
            rest = {each: value for each, value in self.empty.items() if each not in shown}
            yield {**independent(rest), self.words: error_html(error)}  # the old answer may arrive after it was emptied

    @property
    def outputs(self) -> list[Any]:
        upload = [self.upload] if self.upload else []
        return [*upload, self.player, self.source, self.words, self.clear, *self.empty]


def cumulative(updates: Iterable[Updates], unchanged: Any) -> Iterator[Updates]:
    """Yields each update merged into those before it: a slow browser drops the first of two in quick succession.

    Args:
        unchanged: a component that is skipped if there is no update; without any Gradio would empty all components.
    """
    shown: Updates = {}
    for update in filter(None, updates):
        shown = shown | {component: _merged(shown.get(component), value) for component, value in update.items()}
        yield independent(shown)
    if not shown:
        yield {unchanged: gr.skip()}


def independent(updates: Updates) -> Updates:
    """A copy that Gradio may change: it removes `value` from each update that it sends."""
    return {component: dict(value) if _is_update(value) else value for component, value in updates.items()}


def _is_update(value: Any) -> bool:
    return isinstance(value, dict) and "__type__" in value


def _merged(earlier: Any, later: Any) -> Any:
    """One update for two of the same component; a plain value replaces all before it."""
    return {**earlier, **later} if _is_update(earlier) and _is_update(later) else later


def render_here(component: gr.components.Component) -> None:
    """Renders a component that was created earlier."""
    component.render()  # type: ignore[no-untyped-call]


def drop_zone() -> gr.File:
    """A drop zone for files of any type: their first bytes decide, not their names."""
    return pass_upload_path(
        gr.File(label="Your video", show_label=False, height=120, min_width=180, elem_classes="drop")
    )


def video_player(label: str) -> gr.Video:
    """A player; like a recorder, it is not rendered yet."""
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
    """A camera recorder that plays its recording; not rendered yet."""
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
