"""What every tab with a video does: a new video empties the old answer and is answered at once."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from hmdb.errors import HmdbError
from hmdb.page.files import served
from hmdb.page.handlers import Handlers
from hmdb.page.present import busy, headed, problem
from hmdb.page.preview import make_preview, plays_in_browser

HEIGHT = 300  # pixels of a player, and of what stands beside it

Shown = dict[Any, Any]  # components and what they show from now on

ROW_OF_PICTURES: dict[str, Any] = {
    "show_label": False,
    "container": False,
    "columns": 8,
    "height": "auto",
    "allow_preview": False,
    "buttons": [],
}
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = {**PRIVATE, "queue": False}  # what needs no network waits for nobody
LATEST: dict[str, Any] = {**PRIVATE, "trigger_mode": "multiple"}  # a new question ends the old one


class Panel(ABC):
    """A video and its answer.

    Attributes:
        player: where the video is chosen and played.
        source: its path; a state, which stays on the server.
        words: the headline, or what went wrong.
        empty: what the other components show while there is no answer.
    """

    player: gr.Video
    empty: Shown

    def __init__(self, do: Handlers, heavy: dict[str, Any], invitation: str) -> None:
        self.do = do
        self.heavy = heavy
        self.invitation = headed("", invitation)
        self.source = gr.State()
        self.words = gr.HTML(self.invitation, render=False)

    @abstractmethod
    def steps(self, path: str) -> Iterator[Shown]:
        """The answer, as far as it is known."""

    def answers(self, *triggers: Any) -> None:
        """Answers the player's video after these events of it, which bring one or take it away."""
        self.answer_after(gr.on(triggers, self.take, self.player, self.outputs, trigger_mode="multiple", **AT_ONCE))

    def answer_after(self, taken: Any) -> None:
        taken.then(self.run, self.source, self.outputs, **LATEST, **self.heavy)

    def take(self, path: str | None) -> Shown:
        """Ends the answering of the old video, and empties its answer."""
        self.do.cancel()
        return {self.source: path, self.words: busy() if path else self.invitation, **self.empty}

    def run(self, path: str | None) -> Iterator[Shown]:
        try:
            yield from self.steps(path) if path else ()
        except HmdbError as error:
            yield {self.words: problem(error)}

    @property
    def outputs(self) -> list[Any]:
        return [self.player, self.source, self.words, *self.empty]


def video_player(label: str, *, sources: list[Any] | None = None, height: int = HEIGHT) -> gr.Video:
    return gr.Video(
        label=label,
        sources=sources or ["upload"],
        # Mirroring, and leaving out the sound, would need an ffmpeg program on the server.
        webcam_options=gr.WebcamOptions(mirror=False, constraints={"video": {"width": 640, "height": 480}}),
        include_audio=True,
        buttons=[],
        height=height,
        elem_classes="player",
    )


def playable(path: str) -> str | None:
    """What a browser plays in place of this file; None where it plays the file itself.

    Raises:
        VideoError: the video cannot be read, or nothing can be encoded here.
    """
    if plays_in_browser(path):
        return None
    with tempfile.TemporaryDirectory() as folder:
        return served(make_preview(path, Path(folder) / "preview"))
