"""The timeline of a long video as HTML and text."""

from __future__ import annotations

import dataclasses
import re

from hmdb.clips.clip import ClipSpec
from hmdb.page.views.timeline import COLORS, NO_ACTION_COLOR, summary, timeline_html, timeline_text
from hmdb.timeline import Timeline, WindowAnswer


def timeline(*labels: str | None, num_windows: int = 0, seconds: float | None = 2.0) -> Timeline:
    """A window of 50 frames, `seconds` long, for each label."""
    return Timeline(
        answers=tuple(
            WindowAnswer(frames=range(index * 50, index * 50 + 50), label=label, probability=0.75)
            for index, label in enumerate(labels)
        ),
        num_windows=num_windows or len(labels),
        num_frames=50 * len(labels),
        fps=50 / seconds if seconds else None,
        model="tiny",
        revision=None,
        spec=ClipSpec(),
        seconds=tuple(seconds * index for index in range(len(labels) + 1)) if seconds else None,
    )


def test_each_segment_is_a_button_that_seeks_into_it() -> None:
    html = timeline_html(timeline("wave", "wave", None, "golf"))
    assert re.findall(r'data-start="([^"]+)"', html) == ["0.10", "4.10", "6.10"]
    assert re.findall(r"left:(.*?);width:(.*?);", html) == [
        ("0.00%", "50.00%"),
        ("50.00%", "25.00%"),
        ("75.00%", "25.00%"),
    ]
    assert 'aria-label="none of these, 0:04 to 0:06"' in html
    assert re.findall(r"<span>(\d.*?)</span>", html) == ["0.0 s", "2.0 s", "4.0 s", "6.0 s", "8.0 s"]


def test_segments_without_a_clock_cannot_be_clicked() -> None:
    html = timeline_html(timeline("wave", "golf", seconds=None))
    assert "data-start" not in html
    assert html.count(" disabled") == 2
    assert 'title="golf, frame 50 to frame 100, 75%"' in html


def test_the_legend_has_a_color_for_each_action() -> None:
    labels = [f"action_{number}" for number in range(len(COLORS) + 1)]
    html = timeline_html(timeline(*labels, None, labels[0]))
    legend = re.findall(r'<li><i style="background:(.*?)"></i>(.*?)</li>', html)
    assert legend == [
        *zip([*COLORS, COLORS[0]], [label.replace("_", " ") for label in labels], strict=True),
        (NO_ACTION_COLOR, "none of these"),
    ]


def test_labels_are_escaped() -> None:
    html = timeline_html(timeline('"><b>'))
    assert "<b>" not in html
    assert html.count("&#34;&gt;&lt;b&gt;") == 4  # title, label, text and legend


def test_the_summary_names_the_first_actions() -> None:
    assert summary(timeline("a", None, "b", "a")) == "a, b"
    assert summary(timeline(*"abcdefg")) == "a, b, c, d, e and 2 more"
    assert summary(timeline(None)) == "None of these"


def test_the_text_counts_windows() -> None:
    assert timeline_text(timeline("a", "b"), finished=True) == "Classified 2 of 2 windows."
    assert timeline_text(timeline("a", num_windows=3), finished=False, pieces="pieces") == "Classified 1 of 3 pieces."
    assert "Stopped at the time limit" in timeline_text(timeline("a", num_windows=3), finished=True)


def test_a_gap_is_hatched_and_no_answer() -> None:
    whole = timeline("wave", None, None)
    found = dataclasses.replace(whole, answers=(whole.answers[0], whole.answers[2]), seconds=(0.0, 2.0, 4.0, 6.0))
    html = timeline_html(found)
    assert html.count('class="gap"') == 2  # in the bar and in the legend
    assert 'aria-label="not looked at, 0:02 to 0:04"' in html
    assert timeline_text(found, finished=True).startswith("Looked at 4 of 6 seconds. ")
