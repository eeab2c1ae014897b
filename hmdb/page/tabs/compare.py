"""The Compare tab: two videos next to each other, each under several frame samplers."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from hmdb.page.service.handlers import Handlers
from hmdb.page.tabs.base import BARE_HTML, THUMBNAIL_ROW, Panel, drop_zone, render_here, video_player
from hmdb.page.tabs.request_queue import Updates
from hmdb.page.views.comparison import agreement_headline, runs_table
from hmdb.page.views.gallery import gallery
from hmdb.results import Prediction


class ComparePanel(Panel):
    """A video with a row for each sampler: its frames and its prediction."""

    def __init__(self, do: Handlers, name: str) -> None:
        super().__init__(do, f"Choose {name}: its frames are sampled in several ways.")
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
        self.connect(self.upload, self.upload.upload)

    def updates(self, path: str) -> Iterator[Updates]:
        runs: list[tuple[str, Prediction]] = []
        for result in self.do.compare_runs(path, owner=self):
            if not isinstance(result, tuple):
                yield self.show_player(result)
                continue
            runs.append(result)
            yield {self.table: runs_table(runs)}
            if len(runs) == self.do.num_runs:
                frames = [frame for _, run in runs for frame in gallery(run.clip)]
                yield {self.words: agreement_headline(runs), self.frames: gr.update(value=frames, visible=True)}
