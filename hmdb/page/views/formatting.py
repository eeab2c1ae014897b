"""Answers as components show them: words, rows, pictures with captions."""

from __future__ import annotations

import html
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hmdb.clips.clip import Clip, ClipFrame
from hmdb.page.server.file_store import Gallery, publish_copy, publish_pictures
from hmdb.results import NONE_OF_THESE, Prediction
from hmdb.text import label_words

if TYPE_CHECKING:
    from hmdb.errors import HmdbError
    from hmdb.results import Explanation, Faithfulness, Timeline

FRAME_KIND_WORDS = {
    "reversed": "backwards",
    "interpolated": "blended",
    "brightened": "brightened",
}  # of frames that are not real
SURE, PROBABLE = 0.8, 0.5  # probabilities from which on an answer is called so


def escape_markup(text: str) -> str:
    """Text from elsewhere, as it is: without the meaning that HTML or Markdown would give to parts of it."""
    return re.sub(r"([\\`*_\[\]()!~|])", r"\\\1", html.escape(text, quote=False))


def confidences(prediction: Prediction) -> dict[str, float]:
    """The top five for gr.Label."""
    return dict(zip(map(label_words, prediction.labels), prediction.probabilities, strict=True))


def chart(prediction: Prediction) -> pd.DataFrame:
    """The top five for gr.BarPlot: columns action, probability."""
    return pd.DataFrame(confidences(prediction).items(), columns=["action", "probability"])


def label_text(prediction: Prediction) -> str:
    """The likeliest action, or that it may be none of them."""
    return label_words(prediction.label if prediction.is_known else NONE_OF_THESE)


def prediction_markdown(prediction: Prediction, num_labels: int) -> str:
    """The answer in a sentence, with what is uncertain about it."""
    name = escape_markup(label_words(prediction.label))
    sentence = f"Probably **{name}**, at {prediction.probability:.0%}."
    if not prediction.is_known:
        sentence = (
            f"This clip may show **none of the {num_labels} actions**. {prediction.doubt} The likeliest of them, "
            f"{name}, gets {prediction.probability:.0%}."
        )
    return " ".join((sentence, *map(escape_markup, prediction.clip.notes)))


def headline(prediction: Prediction, num_labels: int) -> str:
    """The answer in large, with a line about it; read out by a screen reader as it changes."""
    name, notes = label_words(prediction.label), prediction.clip.notes
    if not prediction.is_known:
        doubt = prediction.doubt or ""
        return headline_html(
            f"None of the {num_labels} actions", doubt, f"The likeliest of them would be {name}.", *notes
        )
    return headline_html(name, confidence_text(prediction.probability), *notes)


def confidence_text(probability: float) -> str:
    """
    >>> confidence_text(0.44)
    'A guess: other actions are likely, too.'
    """
    if probability >= SURE:
        return "It is sure."
    if probability >= PROBABLE:
        return "It is fairly sure."
    return "A guess: other actions are likely, too."


def busy_html() -> str:
    return headline_html("…", "Looking at it.")


def error_html(error: HmdbError) -> str:
    return headline_html("That did not work", str(error), kind="problem")


def headline_html(large: str, *small: str, kind: str = "") -> str:
    """Always the same elements, so that what listens for changes of them hears each."""
    return (
        f'<div class="headline {kind}" role="status" aria-live="polite"><strong>{html.escape(large)}</strong>'
        f"<span>{html.escape(' '.join(small))}</span></div>"
    )


def note_html(words: str) -> str:
    """A line of text, as it is."""
    return f'<p class="line">{html.escape(words)}</p>'


def pending_map_text(label: str) -> str:
    return f"Looking for what speaks for “{label_words(label)}” …"


def faithfulness_text(faithfulness: Faithfulness) -> str:
    """What a map is worth, in one short line."""
    share, before, without = faithfulness.shares[1], faithfulness.probability, faithfulness.deleted[1]
    change = f"“{label_words(faithfulness.label)}” goes from {percent(before)} to {percent(without)}"
    counts = faithfulness.above_chance and without < before
    worth = "it rests on these places" if counts else "do not read much into this map"
    return (
        f"With the brightest {share:.0%} of the picture hidden, {change}: {worth}. "
        f"Trust in the map: {max(faithfulness.trust, 0):.2f} out of 1."
    )


def percent(share: float) -> str:
    """
    >>> percent(0.004)
    '0.4%'
    """
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"


def gallery(clip: Clip) -> Gallery:
    """The frames of a clip with their captions."""
    return publish_pictures(clip.pixels, map(caption, clip.frames))


def caption(frame: ClipFrame) -> str:
    """ "0.5 s, backwards"; a folder of frames has no clock, so there the frame's number."""
    moment = f"frame {frame.sources[0]}" if frame.seconds is None else f"{frame.seconds:.1f} s"
    return ", ".join(
        (moment, *(FRAME_KIND_WORDS[step] for step in frame.kind.split(" + ") if step in FRAME_KIND_WORDS))
    )


def overlays(explanation: Explanation, opacity: float) -> Gallery:
    """The frames under their map."""
    from hmdb.figures import overlay

    clip = explanation.prediction.clip
    drawn = overlay(clip.pixels, explanation.heat, opacity=opacity, region=explanation.region)
    return publish_pictures(drawn, map(caption, clip.frames))


def timeline_outputs(timeline: Timeline, name: str, *, finished: bool) -> tuple[Any, ...]:
    """Words, chart, table, files (once finished) and JSON of a timeline."""
    from hmdb.figures import timeline_chart

    rows = [
        (
            segment.start_frame if segment.start_seconds is None else round(segment.start_seconds, 2),
            segment.end_frame if segment.end_seconds is None else round(segment.end_seconds, 2),
            label_words(segment.label or NONE_OF_THESE),
            round(segment.probability, 3),
        )
        for segment in timeline.segments
    ]
    files = timeline_files(timeline, name) if finished else None
    return timeline_words(timeline, finished=finished), timeline_chart(timeline), rows, files, timeline.to_dict()


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


def duration(seconds: float) -> str:
    """
    >>> duration(3600), duration(90)
    ('60 minutes', '90 seconds')
    """
    return f"{seconds:g} seconds" if seconds % 60 else f"{seconds / 60:g} minutes"


def clock(seconds: float) -> str:
    """
    >>> clock(83.4)
    '1:23'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def comparison(runs: list[tuple[str, Prediction]]) -> pd.DataFrame:
    """A column for each run, a row for each rank; a model of fewer labels than another has empty cells."""
    return pd.DataFrame({name: pd.Series(ranks(run)) for name, run in runs}).fillna("")


def ranks(prediction: Prediction) -> list[str]:
    """The top five in words, as the command line has them."""
    first, *others = [f"{label} {probability:.0%}" for label, probability in confidences(prediction).items()]
    return [first if prediction.is_known else f"{NONE_OF_THESE}: {first}", *others]


def agreement(runs: list[tuple[str, Prediction]]) -> str:
    """Whether the runs answer alike, in words."""
    answers = {escape_markup(name): escape_markup(label_text(run)) for name, run in runs}
    if len(set(answers.values())) == 1:
        return f"All {len(runs)} agree: **{escape_markup(label_text(runs[0][1]))}**."
    return "They differ: " + ", ".join(f"{name} says **{found}**" for name, found in answers.items()) + "."
