"""One-line texts for people: labels, file names and error reasons."""

from __future__ import annotations

import re
from pathlib import Path

CONTROL = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")  # Unicode's categories Cc and Cs
BREAKING = re.compile("[\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # line separators and bidirectional controls


ACTION_NAMES = {
    "brush_hair": "brushing hair",
    "catch": "catching",
    "chew": "chewing",
    "climb": "climbing",
    "climb_stairs": "climbing stairs",
    "draw_sword": "drawing a sword",
    "eat": "eating",
    "flic_flac": "back handspring (flic flac)",
    "kiss": "kissing",
    "pick": "picking up",
    "pour": "pouring",
    "pullup": "pull-up",
    "pushup": "push-up",
    "ride_bike": "riding a bike",
    "shoot_bow": "shooting a bow",
    "shoot_gun": "shooting a gun",
    "situp": "sit-up",
    "smile": "smiling",
    "smoke": "smoking",
    "throw": "throwing",
    "wave": "waving",
}  # of HMDB51's labels, where they differ from the action's usual name


def label_words(label: str) -> str:
    """The label with spaces, for people.

    >>> label_words("ride_bike")
    'ride bike'
    """
    return label.replace("_", " ")


def action_name(label: str) -> str:
    """The label as people write the action: in a list for HMDB51's, else with spaces.

    >>> action_name("pullup"), action_name("play_chess")
    ('pull-up', 'play chess')
    """
    return ACTION_NAMES.get(label) or label_words(label)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def one_line(text: str) -> str:
    """Untrusted text made safe to show: "?" replaces control characters, line breaks and bidirectional controls."""
    return BREAKING.sub("?", CONTROL.sub("?", text))


def is_plain(text: str) -> bool:
    """True if a name or label has no control characters and no lone surrogates, which UTF-8 cannot encode. Other
    invisible characters are allowed: emoji, Persian and file names of macOS contain them.

    >>> is_plain("3.04.05\u202fPM.mov"), is_plain("two\\nlines")
    (True, False)
    """
    return not CONTROL.search(text)


def display_name(path: Path) -> str:
    """The name of a file for people: without its folders, on one line, at most 73 characters plus an ellipsis."""
    name = one_line(path.name)
    return name if len(name) <= 80 else f"{name[:50]}...{name[-20:]}"
