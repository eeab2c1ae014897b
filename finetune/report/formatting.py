"""What the templates of report and card say in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2

from finetune.evaluation.metrics import Accuracy
from hmdb.text import label_words

TEMPLATES = Path(__file__).parent / "templates"


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def with_interval(found: Accuracy, name: str) -> str:
    """As people read it: "93.6 % (87.9 to 96.7)"."""
    low, high = getattr(found, f"{name}_interval")
    return f"{percent(getattr(found, name))} % ({percent(low)} to {percent(high)})"


def mean_of_classes(found: Accuracy) -> str:
    """As people read it: "91.2 %", or a dash where an earlier version did not measure it."""
    return "-" if found.mean_class is None else f"{percent(found.mean_class)} %"


def escape_markdown(label: str) -> str:
    """A label as text in a table: nothing in it is taken for markup."""
    return re.sub(r"([\\|*`<\[\]])", r"\\\1", label_words(label))


def render(template: str, **values: Any) -> str:
    """A template with its values; one that it lacks is an error."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    rendered: str = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(**helpers(), **values)
    return rendered + "\n"


def helpers() -> dict[str, Any]:
    """The functions that templates call."""
    return {
        "percent": percent,
        "with_interval": with_interval,
        "readable": escape_markdown,
        "mean_of_classes": mean_of_classes,
    }
