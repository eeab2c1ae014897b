"""Charts of an evaluation can be drawn."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.evaluation import figures

GREY = np.full((3, 40, 60, 3), 100, np.uint8)


def test_charts_can_be_drawn() -> None:
    for figure in (
        figures.confusion_matrix(np.array([[9, 1], [0, 0]]), ("golf", "wave")),
        figures.answer_figure(GREY, ("golf", "wave"), (0.9, 0.1), truth="wave"),
        figures.reliability_chart(np.array([0.2, 0.9]), np.array([0.1, 0.8]), np.array([0.0, 1.0])),
    ):
        png = io.BytesIO()
        figure.savefig(png, format="png")
        with Image.open(png) as image:
            assert np.asarray(image.convert("L")).std() > 5


def test_a_confusion_matrix_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(3, 3\)"):
        figures.confusion_matrix(np.zeros((2, 2), int), ("a", "b", "c"))


def test_labels_that_no_font_has_can_be_drawn(tmp_path: Path) -> None:
    labels = ("\u8d70\u308b", "jump \U0001f938", "a|b $x^$ {", "caf\u00e9")
    assert [figures.drawable(label) for label in labels] == ["u8d70u308b", "jump u1f938", "a|b \\$x^\\$ {", "caf\u00e9"]
    figures.confusion_matrix(np.eye(4, dtype=int), labels).savefig(tmp_path / "figure.png")  # warnings are errors
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    figures.answer_figure(frames, labels, (0.4, 0.3, 0.2, 0.1), truth=labels[1]).savefig(tmp_path / "answer.png")
