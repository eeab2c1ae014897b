"""Answers beside one another: one video, several ways to take its frames."""

from __future__ import annotations

from hmdb.page.views.assets import render
from hmdb.page.views.formatting import headline_html, label_text
from hmdb.results import Prediction


def agreement_headline(runs: list[tuple[str, Prediction]]) -> str:
    """Whether the runs answer alike, as a headline."""
    answers = list(dict.fromkeys(label_text(run) for _, run in runs))
    if len(answers) == 1:
        return headline_html(answers[0], f"All {len(runs)} ways agree.")
    return headline_html(" or ".join(answers), "It depends on the frames that are taken.")


def runs_table(runs: list[tuple[str, Prediction]]) -> str:
    """A row for each run: how the frames were taken, the answer, and a bar for its probability if it is an action."""
    rows = [
        (sampler_words(name, run), label_text(run), run.probability if run.is_known else None) for name, run in runs
    ]
    return render("runs.html", rows=rows)


def sampler_words(name: str, run: Prediction) -> str:
    """How the frames of a run were taken, in words; the name of a run that is another model's stays."""
    ways = {
        "uniform": f"one frame in {run.clip.spec.stride}",
        "equidistant": "evenly spread",
        "random": "at random",
        "centered": "from the middle",
    }
    return ways.get(name, name)
