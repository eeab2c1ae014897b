"""Words for people: labels, names of files and reasons, each in one line."""

from __future__ import annotations

import re
from pathlib import Path

CONTROL = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")  # Unicode's categories Cc and Cs
BREAKING = re.compile("[\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # ends of lines, and what turns text round


def label_words(label: str) -> str:
    """The label as people write it: `"ride_bike"` -> `"ride bike"`."""
    return label.replace("_", " ")


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def one_line(text: str) -> str:
    """Text without what would move the cursor, end the line or turn round what follows, to be shown."""
    return BREAKING.sub("?", CONTROL.sub("?", text))


def is_plain(text: str) -> bool:
    """Tells whether a name or a label has no control character and no lone surrogate: it can be written in UTF-8 and
    moves no cursor. Other characters that show nothing, as emoji, Persian and the names of Macs have them, are fine.

    >>> is_plain("3.04.05\u202fPM.mov"), is_plain("two\\nlines")
    (True, False)
    """
    return not CONTROL.search(text)


def display_name(path: Path) -> str:
    """The name of a file as it is shown to people: no folders, one line, not endless."""
    name = one_line(path.name)
    return name if len(name) <= 80 else f"{name[:50]}...{name[-20:]}"
