"""Formats figures and labels, and renders the templates of report and card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2

from finetune.evaluation.metrics import Accuracy
from finetune.evaluation.ood import OodFigures
from hmdb.text import label_words

TEMPLATES = Path(__file__).parent / "templates"


def percent(share: float) -> str:
    """Formats a fraction as per cent: "93.6"."""
    return f"{100 * share:.1f}"


def with_interval(accuracy: Accuracy, metric: str) -> str:
    """Formats top1 or top5 with its interval: "93.6 % (87.9 to 96.7)"."""
    low, high = getattr(accuracy, f"{metric}_interval")
    return f"{percent(getattr(accuracy, metric))} % ({percent(low)} to {percent(high)})"


def describe_ood(figures: OodFigures) -> str:
    """Describes in a sentence what a detector is expected to accept."""
    shares = [
        f"{percent(accepted / clips)} % ({percent(low)} to {percent(high)})"
        for accepted, clips, (low, high) in (
            (figures.right_accepted, figures.right, figures.right_interval),
            (figures.hidden_accepted, figures.hidden, figures.hidden_interval),
        )
    ]
    return (
        f"To be expected, by {figures.hidden} val clips: {shares[0]} of the correct predictions are accepted, and "
        f"{shares[1]} of clips of an action that is hidden from the detector; of really new actions more."
    )


def mean_class(accuracy: Accuracy) -> str:
    """Formats mean-class accuracy: "91.2 %", or a dash in older reports."""
    return "-" if accuracy.mean_class is None else f"{percent(accuracy.mean_class)} %"


def escape_markdown(label: str) -> str:
    """Escapes a label for a Markdown table."""
    return re.sub(r"([\\|*`<\[\]])", r"\\\1", label_words(label))


def render(template: str, **values: Any) -> str:
    """Renders a template; a value that it lacks is an error."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    rendered: str = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(**helpers(), **values)
    return rendered + "\n"


def helpers() -> dict[str, Any]:
    """Returns the functions that templates call."""
    return {
        "percent": percent,
        "with_interval": with_interval,
        "escape_markdown": escape_markdown,
        "mean_class": mean_class,
        "describe_ood": describe_ood,
    }
