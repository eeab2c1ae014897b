"""Words for people: labels, names of files and reasons, each in one line."""

from __future__ import annotations

from pathlib import Path


def readable(label: str) -> str:
    """The label as people write it: `"ride_bike"` -> `"ride bike"`."""
    return label.replace("_", " ")


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def one_line(text: str) -> str:
    """Text without what would move the cursor or end the line."""
    return "".join(char if char.isprintable() else "?" for char in text)


def shown_name(path: Path) -> str:
    """The name of a file as it is shown to people: no folders, one line, not endless."""
    name = one_line(path.name)
    return name if len(name) <= 80 else f"{name[:50]}...{name[-20:]}"
