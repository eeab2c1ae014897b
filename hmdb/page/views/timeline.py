"""The timeline of a long video as HTML, text, subtitles and files."""

from __future__ import annotations

import re
import tempfile
from itertools import cycle
from pathlib import Path
from typing import Any

from hmdb.page.server.file_store import publish_copy
from hmdb.page.views.assets import render
from hmdb.results import NONE_OF_THESE, Segment, Timeline
from hmdb.text import action_name

COLORS = ("#4f46e5", "#0f766e", "#b45309", "#be185d", "#4d7c0f", "#0369a1", "#7e22ce", "#b91c1c")
MAX_HEADLINE_ACTIONS = 5
NO_ACTION_COLOR = "#64748b"  # of segments that show none of the actions
SEEK_MARGIN_SECONDS = 0.1  # past the start of a segment, so that the player shows its own picture and subtitle
TENTHS_BELOW_SECONDS = 20  # length of a video up to which the scale has tenths of seconds
SRT_TIMESTAMP = re.compile(r"(\d\d:\d\d:\d\d),(\d{3})")  # WebVTT has a point in place of the comma


def summary(timeline: Timeline) -> str:
    """The actions in the order of their first segment, as a headline."""
    names = list(dict.fromkeys(segment.label for segment in timeline.segments if segment.label))
    if not names:
        return NONE_OF_THESE.capitalize()
    more = f" and {len(names) - MAX_HEADLINE_ACTIONS} more" if len(names) > MAX_HEADLINE_ACTIONS else ""
    return ", ".join(map(action_name, names[:MAX_HEADLINE_ACTIONS])) + more


def timeline_text(timeline: Timeline, *, finished: bool, pieces: str = "windows") -> str:
    """Says how much of the video has been classified; `pieces` is the word for windows."""
    text = f"Classified {len(timeline.answers)} of {timeline.num_windows} {pieces}."
    if finished and timeline.coverage < 1:
        text = f"Looked at {looked_at_text(timeline)}. {text}"
    if finished and not timeline.is_complete:
        text += " Stopped at the time limit; a shorter video would be finished in time."
    return text


def looked_at_text(timeline: Timeline) -> str:
    """The share of the video that was looked at: "7 of 30 minutes", "12 of 40 seconds", or of its frames."""
    if not timeline.has_clock or not timeline.fps:
        return f"{timeline.coverage:.0%} of the frames"
    seconds = timeline.num_frames / timeline.fps
    size, unit = (60, "minutes") if seconds >= 120 else (1, "seconds")
    return f"{timeline.coverage * seconds / size:.0f} of {seconds / size:.0f} {unit}"


def timeline_files(timeline: Timeline, name: str) -> list[str]:
    """Writes the segments as JSON, CSV and, where the video has a clock, SRT; returns the paths of the files."""
    texts = {"json": timeline.to_json(), "csv": timeline.to_csv()}
    if timeline.has_clock:
        texts["srt"] = timeline.to_srt()
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{name}.{suffix}") for suffix in texts]
        for path, text in zip(paths, texts.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        return [publish_copy(path) for path in paths]


def subtitles(timeline: Timeline) -> str:
    """Writes the segments as subtitles in WebVTT for the player; returns the path of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "actions.vtt"
        path.write_text("WEBVTT\n\n" + SRT_TIMESTAMP.sub(r"\1.\2", timeline.to_srt()), encoding="utf-8")
        return publish_copy(path)


def timeline_html(timeline: Timeline) -> str:
    """A bar whose parts can be clicked, one for each segment, with a scale and a legend of the actions."""
    clocked, segments = timeline.has_clock, timeline.segments
    length = timeline.num_frames / (timeline.fps or 1) if clocked else timeline.num_frames
    total = max(length, *(_span(segment)[1] for segment in segments))  # its clock need not begin at zero
    labels = list(dict.fromkeys(segment.label for segment in segments if segment.label))
    colors = dict(zip(map(action_name, labels), cycle(COLORS), strict=False)) | {NONE_OF_THESE: NO_ACTION_COLOR}
    names = list(dict.fromkeys(_name(segment) for segment in segments))
    return render(
        "timeline.html",
        parts=[_part(segment, colors.get(_name(segment)), total, clocked=clocked) for segment in segments],
        marks=[_mark_text(total * part / 4, total, clocked) for part in range(5)],
        legend=[(name, colors.get(name)) for name in names],
    )


def _part(segment: Segment, color: str | None, total: float, *, clocked: bool) -> dict[str, Any]:
    """A segment's part of the bar: label, color, description, place and width in 0..1, and seconds to seek to.

    A gap has no color, and is hatched.
    """
    start, end = _span(segment)
    times = f"{_time_text(start, clocked)} to {_time_text(end, clocked)}"
    share = f", {segment.probability:.0%}" if segment.label else ""
    return {
        "label": _name(segment) if segment.looked_at else "",
        "color": color,
        "description": f"{_name(segment)}, {times}{share}",
        "left": start / total,
        "width": (end - start) / total,
        "seek_to": start + min(SEEK_MARGIN_SECONDS, (end - start) / 2) if clocked else None,
    }


def _name(segment: Segment) -> str:
    return action_name(segment.label) if segment.label else segment.name


def _span(segment: Segment) -> tuple[float, float]:
    """Start and end in seconds, or in frames where the video has no clock."""
    if segment.start_seconds is None or segment.end_seconds is None:
        return segment.start_frame, segment.end_frame
    return segment.start_seconds, segment.end_seconds


def _mark_text(at: float, total: float, clocked: bool) -> str:
    """
    >>> [_mark_text(part * 9 / 4, 9, True) for part in range(3)], _mark_text(22.5, 90, True)
    (['0.0 s', '2.2 s', '4.5 s'], '0:22')
    """
    return f"{at:.1f} s" if clocked and total < TENTHS_BELOW_SECONDS else _time_text(round(at), clocked)


def _time_text(at: float, clocked: bool) -> str:
    return clock(at) if clocked else f"frame {at:.0f}"


def clock(seconds: float) -> str:
    """
    >>> clock(83.4)
    '1:23'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
