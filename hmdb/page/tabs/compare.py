"""Two videos beside each other, or one whose frames are taken in several ways."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from hmdb.page.service.handlers import Handlers
from hmdb.page.tabs.base import BARE_HTML, THUMBNAIL_ROW, Panel, Updates, drop_zone, render_here, video_player
from hmdb.page.views.formatting import gallery, headline_html, label_text
from hmdb.results import Prediction


class ComparePanel(Panel):
    """A row for each way in which frames are taken of each video: the frames, and what they are taken for."""

    def __init__(self, do: Handlers, heavy: dict[str, Any], name: str) -> None:
        super().__init__(do, heavy, f"Choose {name}: its frames are taken in several ways.")
        self.upload = drop_zone()
        self.player = video_player(name.capitalize())
        render_here(self.player)
        render_here(self.words)
        self.table = gr.HTML(**BARE_HTML)
        self.frames = gr.Gallery(
            label="The frames of each, row by row", visible=False, elem_classes=["pictures", "rows"], **THUMBNAIL_ROW
        )
        render_here(self.clear)
        self.empty = {self.table: "", self.frames: gr.update(value=None, visible=False)}
        self.answers(self.upload, self.upload.upload)

    def steps(self, path: str) -> Iterator[Updates]:
        runs: list[tuple[str, Prediction]] = []
        for run in self.do.runs(path, asker=self):
            runs.append(run)
            yield {self.table: runs_table(runs)}
        frames = [frame for _, run in runs for frame in gallery(run.clip)]
        yield {self.words: agreement_headline(runs), self.frames: gr.update(value=frames, visible=True)}
        yield self.preview(path)


def agreement_headline(runs: list[tuple[str, Prediction]]) -> str:
    """Whether the runs answer alike, as a headline."""
    answers = list(dict.fromkeys(label_text(run) for _, run in runs))
    if len(answers) == 1:
        return headline_html(answers[0], f"All {len(runs)} ways agree.")
    return headline_html(" or ".join(answers), "It depends on the frames that are taken.")


def runs_table(runs: list[tuple[str, Prediction]]) -> str:
    """A row for each run: how the frames were taken, the answer, and a bar for its probability if it is an action."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(sampler_words(name, run))}</th><td>{html.escape(label_text(run))}</td>'
        f'<td class="share">{probability_bar(run.probability) if run.is_known else ""}</td></tr>'
        for name, run in runs
    )
    return f'<table class="runs"><tbody>{rows}</tbody></table>'


def probability_bar(probability: float) -> str:
    return f'<i style="width:{probability:.0%}"></i><span>{probability:.0%}</span>'


def sampler_words(name: str, run: Prediction) -> str:
    """How the frames of a run were taken, in words; the name of a run that is another model's stays."""
    ways = {
        "uniform": f"one frame in {run.clip.spec.stride}",
        "equidistant": "evenly spread",
        "random": "at random",
        "centered": "from the middle",
    }
    return ways.get(name, name)
