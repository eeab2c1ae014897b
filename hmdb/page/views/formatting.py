"""Headlines, notes and other short texts about an answer, as plain text, Markdown or HTML."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from hmdb.page.views.assets import render
from hmdb.results import EVIDENCE, NONE_OF_THESE, Prediction
from hmdb.text import action_name

if TYPE_CHECKING:
    from hmdb.errors import HmdbError
    from hmdb.model.calibration import ReliabilityBin
    from hmdb.results import Faithfulness

HIGH_CONFIDENCE, MODERATE_CONFIDENCE = 0.8, 0.5  # probabilities, at least


def escape_markup(text: str) -> str:
    """Escapes untrusted text for Markdown and HTML."""
    return re.sub(r"([\\`*_\[\]()!~|])", r"\\\1", html.escape(text, quote=False))


def label_text(prediction: Prediction) -> str:
    """The likeliest action, or "none of these"."""
    return action_name(prediction.label if prediction.is_known else NONE_OF_THESE)


def headline(prediction: Prediction, num_labels: int, reliability: ReliabilityBin | None = None) -> str:
    """The answer as a headline, with a line on its confidence and on the clip.

    Args:
        num_labels: of the model.
        reliability: of answers with this probability.
    """
    name, notes = action_name(prediction.label), prediction.clip.notes
    if not prediction.is_known:
        likeliest = f"The likeliest of them would be {name}."
        return headline_html(f"None of the {num_labels} actions", prediction.rejection_reason or "", likeliest, *notes)
    if reliability is None:
        return headline_html(name, confidence_text(prediction.probability), *notes)
    return headline_html(name, reliability_text(reliability, num_labels), *notes)


def reliability_text(reliability: ReliabilityBin, num_labels: int) -> str:
    """Says how often the model was right about validation clips when it was as confident."""
    times = f"{reliability.right} of {reliability.count} times"
    return f"Right {times} when it was this sure, on clips of one of its {num_labels} actions."


def confidence_text(probability: float) -> str:
    """
    >>> confidence_text(0.44)
    'Low confidence: other actions are likely too.'
    """
    if probability >= HIGH_CONFIDENCE:
        return "High confidence."
    if probability >= MODERATE_CONFIDENCE:
        return "Moderate confidence."
    return "Low confidence: other actions are likely too."


def busy_html() -> str:
    return headline_html("…", "Working on it.")


def error_html(error: HmdbError) -> str:
    return headline_html("No answer", str(error), kind="problem")


def headline_html(large: str, *small: str, kind: str = "") -> str:
    """A line in large type over one in small; a screen reader announces its changes."""
    return render("headline.html", large=large, small=" ".join(small), kind=kind)


def note_html(words: str) -> str:
    """A line of plain text."""
    return render("note.html", words=words)


def pending_map_text(label: str) -> str:
    return f"Looking for the evidence for “{action_name(label)}” …"


def faithfulness_text(faithfulness: Faithfulness) -> str:
    """Says in one line how faithful a map is to the model."""
    share, before, without = faithfulness.shares[1], faithfulness.probability, faithfulness.deleted[1]
    change = f"“{action_name(faithfulness.label)}” goes from {percent(before)} to {percent(without)}"
    return f"{EVIDENCE[faithfulness.strength]} With the brightest {share:.0%} of the picture hidden, {change}."


def percent(share: float) -> str:
    """
    >>> percent(0.004)
    '0.4%'
    """
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"


def duration(seconds: float) -> str:
    """
    >>> duration(3600), duration(90)
    ('60 minutes', '90 seconds')
    """
    return f"{seconds:g} seconds" if seconds % 60 else f"{seconds / 60:g} minutes"
