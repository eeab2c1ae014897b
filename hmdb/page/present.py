"""Answers as components show them: words, rows, pictures with captions."""

from __future__ import annotations

import html
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hmdb.clips.clip import Clip, ClipFrame
from hmdb.page.files import Gallery, pictures, served
from hmdb.results import Prediction
from hmdb.text import readable

if TYPE_CHECKING:
    from hmdb.results import Explanation, Timeline


def shown(text: str) -> str:
    """Text from elsewhere, as it is: without the meaning that HTML or Markdown would give to parts of it."""
    return re.sub(r"([\\`*_\[\]()!~|])", r"\\\1", html.escape(text, quote=False))


def confidences(prediction: Prediction) -> dict[str, float]:
    """The top five for gr.Label."""
    return dict(zip(map(readable, prediction.labels), prediction.probabilities, strict=True))


def chart(prediction: Prediction) -> pd.DataFrame:
    """The top five for gr.BarPlot: columns action, probability."""
    return pd.DataFrame(confidences(prediction).items(), columns=["action", "probability"])


def verdict(prediction: Prediction, num_labels: int) -> str:
    """The answer in a sentence, with what is uncertain about it."""
    name = shown(readable(prediction.label))
    sentence = f"Probably **{name}**, at {prediction.probability:.0%}."
    if not prediction.is_known:
        sentence = (
            f"This clip may show **none of the {num_labels} actions**. {prediction.doubt} The likeliest of them, "
            f"{name}, gets {prediction.probability:.0%}."
        )
    return " ".join((sentence, *map(shown, prediction.clip.notes)))


def gallery(clip: Clip) -> Gallery:
    """The frames of a clip with their captions."""
    return pictures(clip.pixels, map(caption, clip.frames))


def caption(frame: ClipFrame) -> str:
    """ "0.53 s · reversed"; a folder of frames has no clock, so there the frame's number."""
    moment = f"frame {frame.sources[0]}" if frame.seconds is None else f"{frame.seconds:.2f} s"
    return f"{moment} · {frame.kind}"


def overlays(explanation: Explanation, opacity: float) -> Gallery:
    """The frames under their map, each with a bar for how much it mattered."""
    from hmdb.figures import importance_bars, overlay

    clip = explanation.prediction.clip
    drawn = overlay(clip.pixels, explanation.heat, opacity=opacity, region=explanation.region)
    drawn = importance_bars(drawn, explanation.frame_importance)
    captions = [
        f"{caption(frame)} · mattered {share:.0%}"
        for frame, share in zip(clip.frames, explanation.frame_importance, strict=True)
    ]
    return pictures(drawn, captions)


def timeline_outputs(timeline: Timeline, name: str, *, finished: bool) -> tuple[Any, ...]:
    """Words, chart, table, files (once finished) and JSON of a timeline."""
    from hmdb.figures import timeline_chart

    words = f"Looked at {len(timeline.answers)} of {timeline.num_windows} windows."
    if timeline.coverage < 1 and timeline.is_complete:
        words += f" They cover {timeline.coverage:.0%} of the video, as it is long."
    if finished and not timeline.is_complete:
        words += " Stopped there, as it took too long; a shorter video or a faster machine gets to the end."
    rows = [
        (
            segment.start_frame if segment.start_seconds is None else round(segment.start_seconds, 2),
            segment.end_frame if segment.end_seconds is None else round(segment.end_seconds, 2),
            readable(segment.label or "none of these"),
            round(segment.probability, 3),
        )
        for segment in timeline.segments
    ]
    files = None
    if finished:
        texts = {"json": timeline.to_json(), "csv": timeline.to_csv()}
        if timeline.has_clock:
            texts["srt"] = timeline.to_srt()
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{name}.{suffix}") for suffix in texts]
            for path, text in zip(paths, texts.values(), strict=True):
                path.write_text(text, encoding="utf-8")
            files = [served(path) for path in paths]
    return words, timeline_chart(timeline), rows, files, timeline.to_dict()


def comparison(runs: list[tuple[str, Prediction]]) -> pd.DataFrame:
    """A column for each run, a row for each rank."""
    return pd.DataFrame(
        {name: [f"{label} {probability:.0%}" for label, probability in confidences(run).items()] for name, run in runs}
    )


def agreement(runs: list[tuple[str, Prediction]]) -> str:
    """Whether the runs answer alike, in words."""
    answers = {shown(name): shown(readable(run.label)) for name, run in runs}
    if len(set(answers.values())) == 1:
        return f"All {len(runs)} agree: **{shown(readable(runs[0][1].label))}**."
    return "They differ: " + ", ".join(f"{name} says **{label}**" for name, label in answers.items()) + "."
