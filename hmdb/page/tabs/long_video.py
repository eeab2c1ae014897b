"""A long video, and what happens in it when."""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from hmdb.page.server.file_store import publish_copy
from hmdb.page.service.handlers import Handlers
from hmdb.page.tabs.base import BARE_HTML, IMMEDIATE, Panel, Updates, drop_zone, render_here, video_player
from hmdb.page.views.formatting import clock, headline_html, timeline_files, timeline_words
from hmdb.results import NONE_OF_THESE, Segment, Timeline
from hmdb.text import label_words

COLORS = ("#4f46e5", "#0f766e", "#b45309", "#be185d", "#4d7c0f", "#0369a1", "#7e22ce", "#b91c1c")
MAX_HEADLINE_ACTIONS = 5  # actions in a headline
NO_ACTION_COLOR = "#64748b"  # for what shows none of the actions

SEEK_MARGIN_SECONDS = (
    0.1  # seconds after the start of a segment, where its picture and subtitle are and no longer those before
)

FEW_SECONDS = 20  # of a video whose quarters fall between the seconds

FILE_KINDS = ("JSON", "Table (CSV)", "Subtitles (SRT)")

SRT_TIMESTAMP = re.compile(r"(\d\d:\d\d:\d\d),(\d{3})")  # SRT has a comma where WebVTT has a point

SEEK = """
element.addEventListener("click", event => {
    const segment = event.target.closest("[data-start]");
    if (segment) trigger("click", {start: Number(segment.dataset.start)});
});
"""


class TimelinePanel(Panel):
    """The player with subtitles, the timeline under it, and files to take away."""

    def __init__(self, do: Handlers, heavy: dict[str, Any]) -> None:
        super().__init__(do, heavy, "Choose a longer video. It is looked at piece by piece: which action, and when?")
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
        self.chart = gr.HTML(js_on_load=SEEK, **BARE_HTML)
        with gr.Accordion("The timeline as JSON", open=False, visible=False) as self.details:
            self.json = gr.JSON(label="Timeline")
        render_here(self.clear)
        self.empty = {
            **{each: gr.update(visible=False) for each in (self.stop, *self.files, self.details)},
            self.chart: "",
            self.json: None,
        }
        self.stop.click(self.end, None, [self.stop, self.words], **IMMEDIATE)
        self.chart.click(seek, None, self.player, **IMMEDIATE)
        self.answers(self.upload, self.upload.upload)

    def steps(self, path: str) -> Iterator[Updates]:
        yield {self.stop: gr.update(visible=True)}
        timeline, finished = None, False
        for timeline, finished in self.do.follow(path, asker=self):
            yield self.shown(timeline, finished=finished)
        if not finished:
            yield self.stopped()
        if timeline is None:
            return
        yield self.taken_away(timeline, Path(path).stem)
        yield self.preview(path)
        if timeline.has_clock:
            yield {self.player: gr.update(subtitles=subtitles(timeline))}

    def shown(self, timeline: Timeline, *, finished: bool) -> Updates:
        done = len(timeline.answers)
        large = summary(timeline) if finished else f"{done / timeline.num_windows:.0%}"
        return {
            self.words: headline_html(large, timeline_words(timeline, finished=finished, pieces="pieces")),
            self.chart: timeline_html(timeline),
            self.stop: gr.update(visible=not finished),
            self.json: timeline.to_dict(),
            self.details: gr.update(visible=True),
        }

    def taken_away(self, timeline: Timeline, name: str) -> Updates:
        """The files, each on its button."""
        paths = timeline_files(timeline, name)
        return {button: gr.update(value=path, visible=True) for button, path in zip(self.files, paths, strict=False)}

    def end(self) -> Updates:
        self.do.cancel(self)
        return self.stopped()

    def stopped(self) -> Updates:
        return {
            self.stop: gr.update(visible=False),
            self.words: headline_html("Stopped", "Whatever was found stays below."),
        }


def seek(event: gr.EventData) -> Any:
    """The player, where the segment that was clicked begins."""
    return gr.update(playback_position=event.start)


def summary(timeline: Timeline) -> str:
    """The actions in the order in which they first come, as a headline."""
    names = list(dict.fromkeys(segment.label for segment in timeline.segments if segment.label))
    if not names:
        return NONE_OF_THESE.capitalize()
    more = f" and {len(names) - MAX_HEADLINE_ACTIONS} more" if len(names) > MAX_HEADLINE_ACTIONS else ""
    return ", ".join(map(label_words, names[:MAX_HEADLINE_ACTIONS])) + more


def subtitles(timeline: Timeline) -> str:
    """A file with each segment's action, while it lasts, as players read it (WebVTT)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "actions.vtt"
        path.write_text("WEBVTT\n\n" + SRT_TIMESTAMP.sub(r"\1.\2", timeline.to_srt()), encoding="utf-8")
        return publish_copy(path)


def timeline_html(timeline: Timeline) -> str:
    """Which action when, as a bar whose parts can be clicked, with a legend of what was seen for how long."""
    segments = timeline.segments
    length = timeline.num_frames / (timeline.fps or 1) if timeline.has_clock else timeline.num_frames
    total = max(length, *(_span(segment)[1] for segment in segments))  # the clock need not begin at zero
    colors: dict[str | None, str] = {None: NO_ACTION_COLOR}
    for segment in segments:
        colors.setdefault(segment.label, COLORS[(len(colors) - 1) % len(COLORS)])
    parts = "".join(_part(segment, colors[segment.label], total, clocked=timeline.has_clock) for segment in segments)
    used = dict.fromkeys(segment.label for segment in segments)
    legend = "".join(
        f'<li><i style="background:{colors[label]}"></i>{html.escape(label_words(label or NONE_OF_THESE))}</li>'
        for label in used
    )
    marks = "".join(f"<span>{_mark(total * part / 4, total, timeline.has_clock)}</span>" for part in range(5))
    return (
        f'<div class="timeline"><div class="parts" role="group" aria-label="Timeline">{parts}</div>'
        f'<div class="marks">{marks}</div><ul class="legend">{legend}</ul></div>'
    )


def _part(segment: Segment, color: str, total: float, *, clocked: bool) -> str:
    start, end = _span(segment)
    words = (
        f"{label_words(segment.label or NONE_OF_THESE)}, {_moment(start, clocked)} to {_moment(end, clocked)}, "
        f"{segment.probability:.0%}"
    )
    inside = start + min(SEEK_MARGIN_SECONDS, (end - start) / 2)
    go = f'data-start="{inside:.2f}"' if clocked else "disabled"
    return (
        f'<button type="button" {go} title="{html.escape(words)}" aria-label="{html.escape(words)}" '
        f'style="left:{start / total:.2%};width:{(end - start) / total:.2%};background:{color}">'
        f"<span>{html.escape(label_words(segment.label or NONE_OF_THESE))}</span></button>"
    )


def _span(segment: Segment) -> tuple[float, float]:
    """In seconds, or in frames where the video has no clock."""
    if segment.start_seconds is None or segment.end_seconds is None:
        return segment.start_frame, segment.end_frame
    return segment.start_seconds, segment.end_seconds


def _mark(at: float, total: float, clocked: bool) -> str:
    """
    >>> [_mark(part * 9 / 4, 9, True) for part in range(3)], _mark(22.5, 90, True)
    (['0.0 s', '2.2 s', '4.5 s'], '0:22')
    """
    return f"{at:.1f} s" if clocked and total < FEW_SECONDS else _moment(round(at), clocked)


def _moment(at: float, clocked: bool) -> str:
    return clock(at) if clocked else f"frame {at:.0f}"
