"""Comparison of several runs on one video, as HTML."""

from __future__ import annotations

from hmdb.page.views.assets import render
from hmdb.page.views.formatting import headline_html, label_text
from hmdb.results import Prediction


def agreement_headline(runs: list[tuple[str, Prediction]]) -> str:
    """A headline that names the answers of all runs."""
    answers = list(dict.fromkeys(label_text(run) for _, run in runs))
    if len(answers) == 1:
        return headline_html(answers[0], f"All {len(runs)} ways agree.")
    return headline_html(" or ".join(answers), "The answer depends on which frames are taken.")


def runs_table(runs: list[tuple[str, Prediction]]) -> str:
    """A table with a row for each run: sampler, answer, and the probability as a bar if the answer is an action."""
    rows = [(sampler_text(name, run), label_text(run), run.probability if run.is_known else None) for name, run in runs]
    return render("runs.html", rows=rows)


def sampler_text(name: str, run: Prediction) -> str:
    """Describes the sampler of a run; a run of another model keeps its name."""
    samplers = {
        "uniform": f"one frame in {run.clip.spec.stride}",
        "equidistant": "evenly spread",
        "random": "at random",
        "centered": "from the middle",
    }
    return samplers.get(name, name)
