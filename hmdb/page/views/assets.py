"""Reads the page's files that are not Python: style sheet, head, scripts and HTML templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent
PAGE_CSS = FOLDER / "static" / "page.css"
HEAD_HTML = FOLDER / "static" / "head.html"

TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["percent"] = lambda share, decimals=0: f"{share:.{decimals}%}"


def read_script(name: str) -> str:
    """The JavaScript of a file in static/."""
    return (FOLDER / "static" / name).read_text(encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """Fills in a template of templates/; every value is escaped."""
    return TEMPLATES.get_template(template).render(**values)
