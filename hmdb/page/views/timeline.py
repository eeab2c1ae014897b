"""The timeline of a long video: the bar, its words and its files."""

from __future__ import annotations

import re
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Any

from hmdb.page.server.file_store import publish_copy
from hmdb.page.views.assets import render
from hmdb.results import NONE_OF_THESE, Segment, Timeline
from hmdb.text import label_words

COLORS = ("#4f46e5", "#0f766e", "#b45309", "#be185d", "#4d7c0f", "#0369a1", "#7e22ce", "#b91c1c")
MAX_HEADLINE_ACTIONS = 5  # actions in a headline
NO_ACTION_COLOR = "#64748b"  # for what shows none of the actions
SEEK_MARGIN_SECONDS = (
    0.1  # seconds after the start of a segment, where its picture and subtitle are and no longer those before
)
FEW_SECONDS = 20  # of a video whose quarters fall between the seconds
SRT_TIMESTAMP = re.compile(r"(\d\d:\d\d:\d\d),(\d{3})")  # SRT has a comma where WebVTT has a point


def summary(timeline: Timeline) -> str:
    """The actions in the order in which they first come, as a headline."""
    names = list(dict.fromkeys(segment.label for segment in timeline.segments if segment.label))
    if not names:
        return NONE_OF_THESE.capitalize()
    more = f" and {len(names) - MAX_HEADLINE_ACTIONS} more" if len(names) > MAX_HEADLINE_ACTIONS else ""
    return ", ".join(map(label_words, names[:MAX_HEADLINE_ACTIONS])) + more


def timeline_words(timeline: Timeline, *, finished: bool, pieces: str = "windows") -> str:
    words = f"Looked at {len(timeline.answers)} of {timeline.num_windows} {pieces}."
    if timeline.coverage < 1 and timeline.is_complete:
        words += f" They cover {timeline.coverage:.0%} of the video, as it is long."
    if finished and not timeline.is_complete:
        words += " Stopped there, as it took too long; a shorter video or a faster machine gets to the end."
    return words


def timeline_files(timeline: Timeline, name: str) -> list[str]:
    """The segments as JSON, CSV and, where the video has a clock, subtitles."""
    texts = {"json": timeline.to_json(), "csv": timeline.to_csv()}
    if timeline.has_clock:
        texts["srt"] = timeline.to_srt()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{name}.{suffix}") for suffix in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        return [publish_copy(path) for path in paths]


def subtitles(timeline: Timeline) -> str:
    """A file with each segment's action, while it lasts, as players read it (WebVTT)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "actions.vtt"
        path.write_text("WEBVTT\n\n" + SRT_TIMESTAMP.sub(r"\1.\2", timeline.to_srt()), encoding="utf-8")
        return publish_copy(path)


def timeline_html(timeline: Timeline) -> str:
    """A bar whose parts can be clicked, one for each segment, with a scale and a legend of the actions."""
    clocked, segments = timeline.has_clock, timeline.segments
    length = timeline.num_frames / (timeline.fps or 1) if clocked else timeline.num_frames
    total = max(length, *(_span(segment)[1] for segment in segments))  # the clock need not begin at zero
    labels = list(dict.fromkeys(segment.label for segment in segments))
    colors: dict[str | None, str] = dict(
        zip((label for label in labels if label is not None), cycle(COLORS), strict=False)
    )
    colors[None] = NO_ACTION_COLOR
    return render(
        "timeline.html",
        parts=[_part(segment, colors[segment.label], total, clocked=clocked) for segment in segments],
        marks=[_mark(total * part / 4, total, clocked) for part in range(5)],
        legend=[(_name(label), colors[label]) for label in labels],
    )


def _part(segment: Segment, color: str, total: float, *, clocked: bool) -> dict[str, Any]:
    """A segment's part of the bar: label, color, description, place and width in 0..1, and seconds to seek to."""
    start, end = _span(segment)
    label = _name(segment.label)
    return {
        "label": label,
        "color": color,
        "description": f"{label}, {_moment(start, clocked)} to {_moment(end, clocked)}, {segment.probability:.0%}",
        "left": start / total,
        "width": (end - start) / total,
        "seek_to": start + min(SEEK_MARGIN_SECONDS, (end - start) / 2) if clocked else None,
    }


def _name(label: str | None) -> str:
    return label_words(label or NONE_OF_THESE)


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


def clock(seconds: float) -> str:
    """
    >>> clock(83.4)
    '1:23'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
