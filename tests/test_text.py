import sys
import unicodedata
from pathlib import Path

import pytest

from hmdb.text import display_name, is_plain, one_line

# As Macs, phones and people name their files.
NAMES = (
    "Screen Recording at 3.04.05\u202fPM.mov",
    "Sn\u00edmek v\u00a013.05.mp4",
    "\u30d3\u30c7\u30aa\u30001.mp4",
    "\u0645\u06cc\u200c\u0631\u0648\u062f.mp4",
    "\u200eVideo.mp4",
    "\U0001f469\u200d\U0001f467.mp4",
    "soft\u00adhyphen.mp4",
    "new\U000f0000private.mp4",
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_real_file_names_are_plain(name: str) -> None:
    assert is_plain(name)
    assert one_line(name) == display_name(Path(name)) == name


def test_only_control_characters_and_lone_surrogates_are_not_plain() -> None:
    for character in map(chr, range(sys.maxunicode + 1)):
        assert is_plain(f"a{character}") == (unicodedata.category(character) not in ("Cc", "Cs")), ascii(character)


@pytest.mark.parametrize("character", "\0\n\r\x1b\x7f\x85\ud800\udcff\u2028\u2029\u202e\u2066", ids=ascii)
def test_one_line_removes_breaks_and_bidirectional_controls(character: str) -> None:
    shown = one_line(f"gpj{character}.mp4")
    assert shown == "gpj?.mp4"
    assert shown.encode()
