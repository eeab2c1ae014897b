"""Answers in the form that the components of the API take."""

from __future__ import annotations

from typing import Any

import pandas as pd

from hmdb.page.views.formatting import escape_markup
from hmdb.page.views.timeline import timeline_files, timeline_text
from hmdb.results import NONE_OF_THESE, Prediction, Timeline
from hmdb.text import label_words


def confidences(prediction: Prediction) -> dict[str, float]:
    """The top five for gr.Label: action, probability."""
    return dict(zip(map(label_words, prediction.labels), prediction.probabilities, strict=True))


def chart(prediction: Prediction) -> pd.DataFrame:
    """The top five for gr.BarPlot: columns action, probability."""
    return pd.DataFrame(confidences(prediction).items(), columns=["action", "probability"])


def prediction_markdown(prediction: Prediction, num_labels: int) -> str:
    """The answer as a sentence in Markdown, with the notes on the clip."""
    name = escape_markup(label_words(prediction.label))
    sentence = f"Probably **{name}**, at {prediction.probability:.0%}."
    if not prediction.is_known:
        sentence = (
            f"This clip may show **none of the {num_labels} actions**. {prediction.rejection_reason} "
            f"The likeliest of them, {name}, gets {prediction.probability:.0%}."
        )
    return " ".join((sentence, *map(escape_markup, prediction.clip.notes)))


def timeline_outputs(timeline: Timeline, name: str, *, finished: bool) -> tuple[Any, ...]:
    """Text, chart, table, files (None until finished) and JSON of a timeline."""
    from hmdb.figures import timeline_chart

    rows = [
        (
            segment.start_frame if segment.start_seconds is None else round(segment.start_seconds, 2),
            segment.end_frame if segment.end_seconds is None else round(segment.end_seconds, 2),
            segment.name,
            None if segment.probability is None else round(segment.probability, 3),
        )
        for segment in timeline.segments
    ]
    files = timeline_files(timeline, name) if finished else None
    return timeline_text(timeline, finished=finished), timeline_chart(timeline), rows, files, timeline.to_dict()


def comparison(runs: list[tuple[str, Prediction]]) -> pd.DataFrame:
    """The top five of all runs: a column for each run, a row for each rank; missing ranks are empty."""
    return pd.DataFrame({name: pd.Series(ranks(run)) for name, run in runs}).fillna("")


def ranks(prediction: Prediction) -> list[str]:
    """The top five as text, in the format of the command line."""
    first, *others = [f"{label} {probability:.0%}" for label, probability in confidences(prediction).items()]
    return [first if prediction.is_known else f"{NONE_OF_THESE}: {first}", *others]


def agreement(runs: list[tuple[str, Prediction]]) -> str:
    """A sentence in Markdown that names the answers of all runs."""
    answers = {escape_markup(name): _answer(run) for name, run in runs}
    if len(set(answers.values())) == 1:
        return f"All {len(runs)} agree: **{_answer(runs[0][1])}**."
    return "They differ: " + ", ".join(f"{name} says **{found}**" for name, found in answers.items()) + "."


def _answer(run: Prediction) -> str:
    return escape_markup(label_words(run.label if run.is_known else NONE_OF_THESE))
