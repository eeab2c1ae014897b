"""The Long video tab: a timeline of the actions in a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from hmdb.errors import HmdbError
from hmdb.page.service.handlers import Handlers
from hmdb.page.tabs.base import BARE_HTML, IMMEDIATE, Panel, drop_zone, render_here, video_player
from hmdb.page.tabs.request_queue import Updates
from hmdb.page.views.assets import read_script
from hmdb.page.views.formatting import headline_html
from hmdb.page.views.timeline import subtitles, summary, timeline_files, timeline_html, timeline_text
from hmdb.results import Timeline

FILE_KINDS = ("JSON", "Table (CSV)", "Subtitles (SRT)")


class TimelinePanel(Panel):
    """The player with subtitles, the timeline under it, and files to download."""

    def __init__(self, do: Handlers) -> None:
        super().__init__(do, "Choose a longer video, and see which action happens when.")
        self.upload = drop_zone()
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=300):
                self.player = video_player("A longer video")
                render_here(self.player)
            with gr.Column(scale=2, min_width=300):
                render_here(self.words)
                self.stop = gr.Button("Stop", size="sm", visible=False)
                with gr.Row():
                    self.files = [
                        gr.DownloadButton(f"⬇ {kind}", size="sm", min_width=80, visible=False) for kind in FILE_KINDS
                    ]
        self.chart = gr.HTML(js_on_load=read_script("seek_on_click.js"), **BARE_HTML)
        with gr.Accordion("The timeline as JSON", open=False, visible=False) as self.details:
            self.json = gr.JSON(label="Timeline")
        render_here(self.clear)
        self.empty = {
            **{each: gr.update(visible=False) for each in (self.stop, *self.files, self.details)},
            self.chart: "",
            self.json: None,
        }
        self.stop.click(self.on_stop, None, [self.stop, self.words], **IMMEDIATE)
        self.chart.click(seek, None, self.player, **IMMEDIATE)
        self.connect(self.upload, self.upload.upload)

    def updates(self, path: str) -> Iterator[Updates]:
        yield {self.stop: gr.update(visible=True)}
        timeline, finished = None, False
        try:
            for result in self.do.timeline_updates(path, owner=self):
                if isinstance(result, tuple):
                    timeline, finished = result
                    yield self.progress_update(timeline, finished=finished)
                else:
                    yield self.show_player(result)
        except HmdbError:
            yield {self.stop: gr.update(visible=False)}
            raise
        if not finished:
            yield self.stopped_update()
        if timeline is None:
            return
        yield self.downloads(timeline, Path(path).stem)
        if timeline.has_clock:
            yield {self.player: gr.update(subtitles=subtitles(timeline))}

    def progress_update(self, timeline: Timeline, *, finished: bool) -> Updates:
        done = len(timeline.answers)
        large = summary(timeline) if finished else f"{done / timeline.num_windows:.0%}"
        return {
            self.words: headline_html(large, timeline_text(timeline, finished=finished, pieces="pieces")),
            self.chart: timeline_html(timeline),
            self.stop: gr.update(visible=not finished),
            self.json: timeline.to_dict(),
            self.details: gr.update(visible=True),
        }

    def downloads(self, timeline: Timeline, name: str) -> Updates:
        """The download buttons with their files."""
        paths = timeline_files(timeline, name)
        return {button: gr.update(value=path, visible=True) for button, path in zip(self.files, paths, strict=False)}

    def on_stop(self) -> Updates:
        self.cancel()
        return self.stopped_update()

    def stopped_update(self) -> Updates:
        return {
            self.stop: gr.update(visible=False),
            self.words: headline_html("Stopped", "The results so far stay below."),
        }


def seek(event: gr.EventData) -> Any:
    """Moves the player to the start of the segment that was clicked."""
    return gr.update(playback_position=event.start)
