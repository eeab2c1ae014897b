"""Comparing the predictions of several runs."""

from __future__ import annotations

import dataclasses

import numpy as np

from hmdb.clips.clip import Clip, ClipFrame, ClipSpec
from hmdb.page.views.api_outputs import agreement, comparison
from hmdb.page.views.comparison import agreement_headline, runs_table
from hmdb.results import Prediction


def prediction(*labels: str, moves: bool = True) -> Prediction:
    """A confident prediction of the first label; none of them if nothing moves."""
    frames = tuple(ClipFrame(sources=(index,), seconds=None, kind="real") for index in range(2))
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    pixels[1] = 100 * moves
    return Prediction(
        labels=labels,
        probabilities=(0.9, *[0.1 / (len(labels) - 1)] * (len(labels) - 1)),
        clip=Clip(pixels=pixels, frames=frames, spec=ClipSpec()),
        model="tiny",
        revision=None,
    )


THROW, STRANGER = prediction("throw", "shoot_ball"), prediction("throw", "shoot_ball", moves=False)


def test_all_runs_agree_on_none_of_these() -> None:
    runs = [("uniform", STRANGER), ("random", STRANGER)]
    assert "<strong>none of these</strong><span>All 2 ways agree.</span>" in agreement_headline(runs)
    assert agreement(runs) == "All 2 agree: **none of these**."
    assert runs_table(runs).count("<td>none of these</td>") == 2
    assert "90%" not in runs_table(runs)
    assert comparison(runs)["uniform"].tolist() == ["none of these: throw 90%", "shoot ball 10%"]


def test_an_action_and_none_of_these_disagree() -> None:
    runs = [("uniform", THROW), ("random", STRANGER)]
    assert "<strong>throwing or none of these</strong><span>The answer depends on which frames" in agreement_headline(
        runs
    )
    assert agreement(runs) == "They differ: uniform says **throw**, random says **none of these**."
    assert "<td>throwing</td>" in runs_table(runs)
    assert comparison(runs).to_numpy().tolist()[0] == ["throw 90%", "none of these: throw 90%"]


def test_models_may_have_different_numbers_of_labels() -> None:
    columns = comparison([("uniform", prediction("throw", "wave", "golf")), ("mine", prediction("on", "off"))])
    assert columns["mine"].tolist() == ["on 90%", "off 10%", ""]


def test_the_stride_is_the_models_own() -> None:
    assert '<th scope="row">one frame in 32</th>' in runs_table([("uniform", THROW)])
    vivit = dataclasses.replace(THROW.clip, spec=ClipSpec(num_frames=32, stride=2))
    assert '<th scope="row">one frame in 2</th>' in runs_table([("uniform", dataclasses.replace(THROW, clip=vivit))])
