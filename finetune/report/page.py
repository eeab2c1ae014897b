"""Writes report.md and its figures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch

from finetune.data.dataset import ClipDataset
from finetune.evaluation import figures
from finetune.evaluation.calibrate import reliability
from finetune.evaluation.metrics import Predictions
from finetune.report import store
from finetune.report.formatting import render
from finetune.report.schema import ClipAnswer, Report
from hmdb.errors import HmdbError
from hmdb.explain.attribution import class_relevance, to_heatmap
from hmdb.figures import overlay
from hmdb.model.families import patch_grid, use_recorded_attention
from hmdb.model.loading import LoadedModel
from hmdb.model.preprocess import normalize

REPORT_TEXT = "report.md"
FIGURES = "figures"
EXAMPLES = ("right", "wrong")  # figures that show frames


def write(report: Report, folder: Path, predictions: Predictions, dataset: ClipDataset, loaded: LoadedModel) -> None:
    """Writes the figures, report.md and, last, report.json.

    Args:
        predictions, dataset: of the report's headline split.
        loaded: draws the attribution maps of the examples.
    """
    _, split = report.headline_split
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    drawn = {"confusion": figures.confusion_matrix(np.array(split.confusion), report.classes)}
    if split.calibration:
        probabilities = loaded.calibration.probabilities(predictions.logits)
        drawn["calibration"] = figures.reliability_chart(*reliability(probabilities, predictions.classes))
    for kind, index in _examples(split.answers).items():
        answer = split.answers[index]
        frames = _with_attribution(dataset.frames(index), loaded)
        names, values = zip(*answer.top, strict=True)
        drawn[kind] = figures.answer_figure(frames, names, values, truth=answer.label)
    for kind, figure in drawn.items():
        figure.savefig(folder / FIGURES / f"{kind}.png")
    write_text(report, folder, drawn)
    store.write(report, folder)


def write_text(report: Report, folder: Path, drawn: Collection[str]) -> None:
    """Writes report.md, with the figures that are named."""
    (folder / REPORT_TEXT).write_text(to_markdown(report, drawn), encoding="utf-8")


def _examples(answers: Sequence[ClipAnswer]) -> dict[str, int]:
    """The indices of the most confident correct and wrong prediction (paper, figures 6 and 7)."""
    examples: dict[str, int] = {}
    for index in sorted(range(len(answers)), key=lambda index: -answers[index].top[0][1]):
        right = answers[index].top[0][0] == answers[index].label
        examples.setdefault("right" if right else "wrong", index)
    return examples


def _with_attribution(pixels: np.ndarray, loaded: LoadedModel) -> np.ndarray:
    """The frames under the attribution map of the prediction (figure 5); plain if no map can be made."""
    network = loaded.network
    values = normalize(torch.from_numpy(pixels)[None], loaded.pixel_spec).to(network.device)
    try:
        _, relevance = class_relevance(use_recorded_attention(network), values)
        heat, _ = to_heatmap(relevance, patch_grid(network.config).frames)
    except HmdbError:
        return pixels
    return overlay(pixels, heat)


def to_markdown(report: Report, drawn: Collection[str]) -> str:
    """Renders report.md.

    Args:
        drawn: names of the figures that exist.
    """
    settings = vars(report.training.recipe) if report.training else {}
    return render(
        "report.md.jinja",
        report=report,
        split=report.headline_split[1],
        settings=settings,
        drawn=drawn,
        figures=FIGURES,
    )
