"""How answers are set beside each other."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from hmdb.clips.clip import Clip, ClipFrame, ClipSpec
from hmdb.errors import ModelError
from hmdb.page.service.handlers import PAPER_SAMPLERS, Handlers
from hmdb.page.service.model_loader import BackgroundModel, as_background
from hmdb.page.views.api_outputs import agreement, comparison
from hmdb.page.views.comparison import agreement_headline, runs_table
from hmdb.recognizer import Recognizer
from hmdb.results import Prediction
from tests.page.conftest import SETTINGS


def prediction(*labels: str, moves: bool = True) -> Prediction:
    """An answer that is sure of the first; where nothing moves it is none of them."""
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


def test_ways_may_agree_that_it_is_none_of_these() -> None:
    runs = [("uniform", STRANGER), ("random", STRANGER)]
    assert "<strong>none of these</strong><span>All 2 ways agree.</span>" in agreement_headline(runs)
    assert agreement(runs) == "All 2 agree: **none of these**."
    assert runs_table(runs).count("<td>none of these</td>") == 2
    assert "90%" not in runs_table(runs)
    assert comparison(runs)["uniform"].tolist() == ["none of these: throw 90%", "shoot ball 10%"]


def test_an_action_and_none_of_these_are_two_answers() -> None:
    runs = [("uniform", THROW), ("random", STRANGER)]
    assert "<strong>throw or none of these</strong><span>It depends on the frames" in agreement_headline(runs)
    assert agreement(runs) == "They differ: uniform says **throw**, random says **none of these**."
    assert "<td>throw</td>" in runs_table(runs)
    assert comparison(runs).to_numpy().tolist()[0] == ["throw 90%", "none of these: throw 90%"]


def test_a_model_may_know_fewer_actions_than_the_other() -> None:
    columns = comparison([("uniform", prediction("throw", "wave", "golf")), ("mine", prediction("on", "off"))])
    assert columns["mine"].tolist() == ["on 90%", "off 10%", ""]


def test_the_distance_of_frames_is_the_models_own() -> None:
    assert '<th scope="row">one frame in 32</th>' in runs_table([("uniform", THROW)])
    vivit = dataclasses.replace(THROW.clip, spec=ClipSpec(num_frames=32, stride=2))
    assert '<th scope="row">one frame in 2</th>' in runs_table([("uniform", dataclasses.replace(THROW, clip=vivit))])


def test_a_second_model_holds_up_nobody_as_it_loads_and_who_waits_counts(recognizer: Recognizer, video: Path) -> None:
    seen = []

    def load() -> Recognizer:
        seen.append((do.turns._working, do.turns.under_way))
        return recognizer

    do = Handlers(as_background(recognizer), BackgroundModel(load), SETTINGS)
    assert len(list(do.runs(str(video)))) == do.num_runs
    assert seen == [(0, 1)]


def test_a_second_model_that_cannot_be_loaded_costs_its_own_answer(recognizer: Recognizer, video: Path) -> None:
    def load() -> Recognizer:
        raise ModelError("It is not there.")

    do = Handlers(as_background(recognizer), BackgroundModel(load), SETTINGS)
    runs = do.runs(str(video))
    found = list(itertools.islice(runs, do.num_runs - 1))
    assert [name for name, _ in found] == list(PAPER_SAMPLERS)
    with pytest.raises(ModelError, match="It is not there"):
        next(runs)
