"""Templates and scripts of the page."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from hmdb.page.views.assets import FOLDER, read_script, render
from hmdb.page.views.social_cards import PARAMETER


@pytest.mark.parametrize("name", ["headline.html", "note.html", "example_link.html", "film_strip.html"])
def test_values_are_escaped(name: str) -> None:
    hostile = "\"><b>&'"
    html = render(name, **dict.fromkeys(("large", "small", "kind", "words", "address", "url"), hostile))
    assert "&#34;&gt;&lt;b&gt;&amp;&#39;" in html
    assert "<b>" not in html


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'words' is undefined"):
        render("note.html")


def test_scripts_read_the_parameter_of_example_links() -> None:
    assert f"?{PARAMETER}=" in read_script("sync_example_link.js")


def test_no_template_turns_escaping_off() -> None:
    for path in (FOLDER / "templates").iterdir():
        text = path.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", ""), path.name
        assert "autoescape" not in text, path.name
