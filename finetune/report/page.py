"""A report for people: report.md and its figures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from finetune.data.dataset import ClipDataset
from finetune.evaluation import figures
from finetune.evaluation.calibrate import reliability
from finetune.evaluation.metrics import Predictions
from finetune.report import schema as reports
from finetune.report.formatting import render
from finetune.report.schema import ClipAnswer, Report
from hmdb.errors import HmdbError
from hmdb.explain.attribution import class_relevance, to_heatmap
from hmdb.figures import overlay
from hmdb.model.calibration import Calibration
from hmdb.model.families import patch_grid
from hmdb.model.preprocess import PixelSpec, normalize

REPORT_TEXT = "report.md"
FIGURES = "figures"
EXAMPLES = ("right", "wrong")  # figures that show frames


def write(
    report: Report,
    folder: Path,
    outcome: Predictions,
    dataset: ClipDataset,
    network: PreTrainedModel,
    pixel_spec: PixelSpec,
) -> None:
    """Writes the figures, report.md and, last, report.json.

    Args:
        report: judges the split of the outcome.
        dataset: the clips of the outcome.
        network: in eval mode; it draws what it looked at in an example.
    """
    _, found = report.judged
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    drawn = {"confusion": figures.confusion_matrix(np.array(found.confusion), report.classes)}
    if found.calibration:
        calibration = Calibration(temperature=found.calibration.temperature, threshold=found.calibration.threshold)
        probabilities = calibration.probabilities(outcome.logits)
        drawn["calibration"] = figures.reliability_chart(*reliability(probabilities, outcome.classes))
    for kind, index in _examples(found.answers).items():
        answer = found.answers[index]
        frames = _attended(dataset.frames(index), network, pixel_spec)
        names, values = zip(*answer.top, strict=True)
        drawn[kind] = figures.answer_figure(frames, names, values, truth=answer.label)
    for kind, figure in drawn.items():
        figure.savefig(folder / FIGURES / f"{kind}.png")
    write_text(report, folder, drawn)
    reports.write(report, folder)


def write_text(report: Report, folder: Path, drawn: Collection[str]) -> None:
    """Writes report.md, with the figures that are named."""
    (folder / REPORT_TEXT).write_text(to_markdown(report, drawn), encoding="utf-8")


def _examples(answers: Sequence[ClipAnswer]) -> dict[str, int]:
    """The surest right and the surest wrong answer, by index (paper, figures 6 and 7)."""
    found: dict[str, int] = {}
    for index in sorted(range(len(answers)), key=lambda index: -answers[index].top[0][1]):
        right = answers[index].top[0][0] == answers[index].label
        found.setdefault("right" if right else "wrong", index)
    return found


def _attended(pixels: np.ndarray, network: PreTrainedModel, pixel_spec: PixelSpec) -> np.ndarray:
    """The frames with what speaks for the answer over them; plain where that cannot be told (figure 5)."""
    values = normalize(torch.from_numpy(pixels)[None], pixel_spec).to(network.device)
    try:
        _, relevance = class_relevance(network, values)
        heat, _ = to_heatmap(relevance, patch_grid(network.config).frames)
    except HmdbError:
        return pixels
    return overlay(pixels, heat)


def to_markdown(report: Report, drawn: Collection[str]) -> str:
    """report.md.

    Args:
        drawn: the figures that there are.
    """
    settings = vars(report.training.recipe) if report.training else {}
    return render(
        "report.md.jinja", report=report, found=report.judged[1], settings=settings, drawn=drawn, figures=FIGURES
    )
