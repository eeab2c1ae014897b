"""The values of the API's outputs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hmdb.page.views.api_outputs import prediction_markdown
from hmdb.recognizer import Recognizer
from hmdb.text import label_words


def test_an_unsure_prediction_may_be_none_of_the_actions(recognizer: Recognizer, video: Path) -> None:
    prediction = recognizer(video)
    unsure = prediction_markdown(dataclasses.replace(prediction, threshold=0.99), 25)
    assert "none of the 25 actions" in unsure
    assert label_words(prediction.label) in unsure
