from pathlib import Path

import numpy as np
import pytest
import torch

from hmdb.clips.reader import read_clip
from hmdb.errors import ModelError
from hmdb.explain.faithfulness import at_random, mask, most_relevant
from hmdb.model.attention import Grid
from hmdb.recognizer import Recognizer
from hmdb.results import Faithfulness
from tests.conftest import write_checkpoint


def test_the_most_relevant_fifth() -> None:
    relevance = np.arange(20.0).reshape(5, 2, 2)
    np.testing.assert_array_equal(np.flatnonzero(most_relevant(relevance)), [16, 17, 18, 19])
    assert most_relevant(np.zeros((5, 2, 2))).sum() == 4


def test_random_choices_are_as_many_and_seeded() -> None:
    draws = [at_random((5, 2, 2), np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert [draw.sum() for draw in draws] == [4, 4, 4]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


def test_a_masked_patch_has_the_mean_colour_of_the_clip() -> None:
    clip = torch.randn(1, 4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    marked = np.zeros((2, 2, 2), bool)  # tubelets of two frames and 3 x 3 pixels
    marked[1, 0, 1] = True
    masked = mask(clip, marked, Grid(2, 2, 2, 2, (3, 3)))
    inside = masked[0, 2:, :, :3, 3:]
    torch.testing.assert_close(inside, clip.mean(dim=(0, 1, 3, 4))[None, :, None, None].expand_as(inside))
    changed = masked != clip
    assert changed.sum() == 2 * 3 * 9


def figures(masked: float, at_random: tuple[float, ...]) -> Faithfulness:
    return Faithfulness(label="ride_bike", probability=0.8, masked=masked, masked_at_random=at_random)


def test_words_for_a_map_that_beats_random() -> None:
    good = figures(0.2, (0.7, 0.5))
    assert good.beats_random
    assert (good.drop, good.random_drop) == pytest.approx((0.6, 0.2))
    assert good.sentence == (
        "Without the 20% of the patches that the map marks most, the probability of ride bike goes from "
        "80.0% to 20.0%; without as many random ones to 60.0% on average of 2. "
        "The map shows what this answer rests on better than chance."
    )


@pytest.mark.parametrize("poor", [figures(0.6, (0.5, 0.7)), figures(0.85, (0.9, 0.95)), figures(0.5, (0.5, 0.6))])
def test_words_for_a_map_that_does_not(poor: Faithfulness) -> None:
    assert not poor.beats_random
    assert "does not beat chance" in poor.sentence


@pytest.mark.parametrize("family", ["timesformer", "vivit"])
def test_an_answer_with_its_map(family: str, tmp_path: Path, video: Path) -> None:
    recognizer = Recognizer.from_pretrained(write_checkpoint(tmp_path, f"scratch:{family}-tiny"), device="cpu")
    plain = recognizer(video)
    rollout = recognizer.explain(video)
    of_label = recognizer.explain(plain.clip, label=plain.labels[1])
    side = recognizer.loaded.network.config.image_size // 16
    for explanation, label in ((rollout, None), (of_label, plain.labels[1])):
        assert explanation.label == label
        assert explanation.prediction.labels == plain.labels
        assert explanation.prediction.probabilities == pytest.approx(plain.probabilities, abs=1e-5)
        assert explanation.heat.shape == (8, side, side)
        assert explanation.heat.min() == 0
        assert explanation.heat.max() == 1
        assert explanation.frame_importance.sum() == pytest.approx(1)
        assert explanation.region == (0.0, 0.0, 1.0, 1.0)
        found = recognizer.faithfulness(explanation, draws=2)
        assert found.label == (label or plain.label)
        assert found.probability == pytest.approx(plain.probabilities[plain.labels.index(found.label)], abs=1e-5)
        assert len(found.masked_at_random) == 2
        assert found == recognizer.faithfulness(explanation, draws=2)
    assert (rollout.heat != of_label.heat).any()


def test_an_unknown_label_is_named(recognizer: Recognizer, video: Path) -> None:
    clip = read_clip(video, recognizer.loaded.clip_spec)
    with pytest.raises(ModelError, match="juggle is not one of the labels of tiny"):
        recognizer.explain(clip, label="juggle")
