"""Two videos beside each other, or one whose frames are taken in several ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from hmdb.page.service.handlers import Handlers
from hmdb.page.tabs.base import BARE_HTML, THUMBNAIL_ROW, Panel, Updates, drop_zone, render_here, video_player
from hmdb.page.views.comparison import agreement_headline, runs_table
from hmdb.page.views.gallery import gallery
from hmdb.results import Prediction


class ComparePanel(Panel):
    """A row for each way in which frames are taken of each video: the frames, and what they are taken for."""

    def __init__(self, do: Handlers, heavy: dict[str, Any], name: str) -> None:
        super().__init__(do, heavy, f"Choose {name}: its frames are taken in several ways.")
        self.upload = drop_zone()
        self.player = video_player(name.capitalize())
        render_here(self.player)
        render_here(self.words)
        self.table = gr.HTML(**BARE_HTML)
        self.frames = gr.Gallery(
            label="The frames of each, row by row", visible=False, elem_classes=["pictures", "rows"], **THUMBNAIL_ROW
        )
        render_here(self.clear)
        self.empty = {self.table: "", self.frames: gr.update(value=None, visible=False)}
        self.answers(self.upload, self.upload.upload)

    def steps(self, path: str) -> Iterator[Updates]:
        runs: list[tuple[str, Prediction]] = []
        for run in self.do.runs(path, asker=self):
            runs.append(run)
            yield {self.table: runs_table(runs)}
        frames = [frame for _, run in runs for frame in gallery(run.clip)]
        yield {self.words: agreement_headline(runs), self.frames: gr.update(value=frames, visible=True)}
        yield self.preview(path)
