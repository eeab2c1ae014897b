"""Base class of the tabs with a video: a new video empties the old answer and is answered at once."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from hmdb.errors import HmdbError
from hmdb.page.server.gradio_patches import pass_upload_path
from hmdb.page.server.session import PerSession
from hmdb.page.service.handlers import Handlers
from hmdb.page.service.playback import Playback, PreviewError
from hmdb.page.tabs.request_queue import RequestQueue, Updates
from hmdb.page.views.assets import read_script
from hmdb.page.views.formatting import busy_html, error_html, headline_html

HEIGHT = 285  # pixels of a player, and of the components in its row

FORGOTTEN = "The page has forgotten this video, since many others came after it. Choose it again."

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
ONE_AT_A_TIME: dict[str, Any] = {**INTERNAL, **SCHEDULED, "trigger_mode": "always_last"}
BARE_HTML: dict[str, Any] = {"padding": False, "apply_default_css": False}  # for gr.HTML


class Panel(ABC):
    """A video and its answer.

    One event, `run`, shows all that a visitor requests, and the browser never starts it while it still shows an earlier
    update. So an old answer cannot arrive after a new one, however slow the browser is.

    Attributes:
        number: of the last request; hidden, and its change starts `run`.
        words: the headline or an error; the subclass renders it, and `clear`.
        upload: where a file is dropped; None where a camera is the source.
        player: plays the video.
        chosen: updates at once when a video is chosen.
        empty: the values of the answer's components while there is no answer.
    """

    upload: gr.File | None = None
    player: gr.Video
    empty: Updates

    def __init__(self, do: Handlers, invitation: str) -> None:
        self.do = do
        self.invitation = headline_html("", invitation)
        self.number = gr.Number(visible=False)
        self.words = gr.HTML(self.invitation, render=False, **BARE_HTML)
        self.clear = gr.Button("Clear", size="sm", visible=False, render=False)
        self.chosen: Updates = {}
        self._queues = PerSession(RequestQueue)

    @abstractmethod
    def updates(self, path: str) -> Iterator[Updates]:
        """Yields the answer as far as it is known."""

    def connect(self, video: gr.File | gr.Video, *triggers: Any) -> None:
        """Answers the value of `video` after these of its events."""
        if self.upload:
            self.chosen |= {self.upload: None}
        outputs = [self.number, *self.chosen]
        self.on_request(partial(gr.on, triggers), self.on_new_video, [video], outputs)
        self.on_request(self.clear.click, self.on_clear, outputs=outputs)
        self.number.change(self.run, None, self.outputs, **ONE_AT_A_TIME)

    def on_request(
        self,
        trigger: Callable[..., object],
        handler: Callable[..., Any],
        inputs: Sequence[Any] = (),
        outputs: Any = None,
    ) -> None:
        """Calls `handler` with a request's number first, and shows that number, which starts `run`."""
        trigger(
            fn=handler,
            inputs=[self.number, *inputs],
            outputs=outputs or [self.number],
            js=read_script("number_request.js"),
            **IMMEDIATE,
        )

    def on_new_video(self, number: float, path: str | None) -> Updates:
        self.request_video(number, path)
        return {self.number: number, **independent(self.chosen)}

    def on_clear(self, number: float) -> Updates:
        return self.on_new_video(number, None)

    def request_video(self, number: float, path: str | None, more: Updates | None = None) -> bool:
        """Requests the answer to a video, or an empty panel, in place of all before it.

        Args:
            more: further updates that belong to it.

        Returns:
            False if the visitor has requested a newer one already.
        """
        work = partial(self.show_video, path, more or {})
        return self._queue.put_video(number, path, work, self.cancel)

    def cancel(self) -> None:
        """Cancels this visitor's jobs."""
        self.do.cancel(self)

    def run(self) -> Iterator[Updates]:
        """Shows what the visitor has requested since the last run."""
        queue = self._queue
        nothing_shown = True
        while work := queue.take():
            for update in cumulative(work()):
                nothing_shown = False
                yield update
                if queue.has_video:
                    break
        if nothing_shown:
            yield {self.words: gr.skip()}  # without an update Gradio would empty all components

    def show_video(self, path: str | None, more: Updates) -> Iterator[Updates]:
        """Yields the empty panel, and then the answer."""
        yield {
            **self.empty,
            **self.reset_player(path),
            self.words: busy_html() if path else self.invitation,
            self.clear: gr.update(visible=bool(path)),
            **more,
        }
        if path:
            try:
                yield from self.updates(path)
            except HmdbError as error:
                yield {self.words: error_html(error)}

    @property
    def _queue(self) -> RequestQueue:
        return self._queues.get()

    def reset_player(self, path: str | None) -> Updates:
        """The player without the old video. A recorder has the new video already."""
        if self.upload is None:
            return {self.player: None} if path is None else {}
        return {self.player: gr.update(value=None, visible=False)}

    def show_player(self, result: Playback | PreviewError) -> Updates:
        """The player with its file; a recorder plays its own video already. Without a preview the answer stands."""
        if isinstance(result, PreviewError):
            gr.Warning(html.escape(str(result)))
            return {}
        if self.upload is None and not result.is_preview:
            return {}
        return {self.player: gr.update(value=result.path, visible=True)}

    @property
    def outputs(self) -> list[Any]:
        return [self.player, self.words, self.clear, *self.empty]


def cumulative(updates: Iterable[Updates]) -> Iterator[Updates]:
    """Yields each update merged into those before it: a slow browser drops the first of two in quick succession."""
    shown: Updates = {}
    for update in filter(None, updates):
        shown = shown | {component: _merged(shown.get(component), value) for component, value in update.items()}
        yield independent(shown)
        shown = {component: _without_open(value) for component, value in shown.items()}


def independent(updates: Updates) -> Updates:
    """A copy that Gradio may change: it removes `value` from each update that it sends."""
    return {component: dict(value) if _is_update(value) else value for component, value in updates.items()}


def _is_update(value: Any) -> bool:
    return isinstance(value, dict) and "__type__" in value


def _without_open(value: Any) -> Any:
    """An update that leaves an accordion as the visitor has opened or closed it meanwhile."""
    return {key: each for key, each in value.items() if key != "open"} if _is_update(value) else value


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
