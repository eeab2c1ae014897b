from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmdb.clips.reader import read_clip
from hmdb.errors import ModelError
from hmdb.explain.faithfulness import deletion_insertion_masks, mask_patches
from hmdb.model.families.base import Grid
from hmdb.recognizer import Recognizer
from hmdb.results import Faithfulness
from tests.support.checkpoints import write_checkpoint


def test_masks_follow_the_order_of_a_map() -> None:
    relevance = np.arange(20.0).reshape(5, 2, 2)
    deleted, inserted = deletion_insertion_masks(relevance)
    assert [each.sum() for each in deleted] == [0, 4, 8, 12, 16, 20]
    np.testing.assert_array_equal(np.flatnonzero(deleted[1]), [16, 17, 18, 19])
    np.testing.assert_array_equal(inserted, ~deleted)
    assert [each.sum() for each in deletion_insertion_masks(np.zeros((5, 2, 2)))[0]] == [0, 4, 8, 12, 16, 20]


def test_masked_patches_have_the_mean_colour() -> None:
    clip = torch.randn(1, 4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    marked = np.zeros((2, 2, 2, 2), bool)  # two ways; tubelets of two frames and 3 x 3 pixels
    marked[1, 1, 0, 1] = True
    plain, masked = mask_patches(clip, marked, Grid(2, 2, 2, 2, (3, 3)))
    torch.testing.assert_close(plain, clip[0])
    inside = masked[2:, :, :3, 3:]
    torch.testing.assert_close(inside, clip.mean(dim=(0, 1, 3, 4))[None, :, None, None].expand_as(inside))
    changed = masked != clip[0]
    assert changed.sum() == 2 * 3 * 9


def figures(deleted: tuple[float, ...], inserted: tuple[float, ...]) -> Faithfulness:
    return Faithfulness(label="ride_bike", shares=(0.0, 0.5, 1.0), deleted=deleted, inserted=inserted)


def test_sentence_above_chance() -> None:
    good = figures((0.8, 0.2, 0.1), (0.1, 0.6, 0.8))
    assert good.above_chance
    assert good.score == pytest.approx((-0.35 + 0.4 + 0.35) / 2)
    assert good.sentence == (
        "With the 50% most relevant patches hidden, the probability of ride bike goes from 80.0% to 20.0%; with only "
        "them visible it is 60.0%. Over all shares the faithfulness of the map is 0.20 (1 at best, 0 for a random "
        "map). Strong evidence: the answer rests on these places."
    )


@pytest.mark.parametrize("half", [(0.4, 0.4), (0.6, 0.3), (0.4, 0.45)])
def test_sentence_below_chance(half: tuple[float, float]) -> None:
    poor = figures((0.8, half[0], 0.1), (0.1, half[1], 0.8))
    assert not poor.above_chance
    assert poor.strength == "none"
    assert poor.sentence.endswith("No evidence: the answer does not rest on these places.")


class Sums(torch.nn.Module):
    """Answers the first label by how bright the marked corner of the clip is."""

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        corner = pixel_values[:, :, :, :16, :16].mean(dim=(1, 2, 3, 4))
        return torch.stack([corner, torch.zeros_like(corner)], dim=1)


def test_right_map_scores_high_and_its_opposite_low() -> None:
    clip = torch.full((1, 2, 3, 32, 32), -2.0)
    clip[:, :, :, :16, :16] = 6  # so that the mean, which masks, says nothing
    where = Grid(2, 2, 2, 1, (16, 16))
    right = np.zeros((2, 2, 2))
    right[:, 0, 0] = 1

    def trust(relevance: np.ndarray) -> float:
        answers = Sums()(
            mask_patches(clip, deletion_insertion_masks(relevance, steps=4).reshape(-1, 2, 2, 2), where)
        ).softmax(dim=1)[:, 0]
        deleted, inserted = answers.reshape(2, -1).tolist()
        return Faithfulness(
            label="a", shares=(0, 0.25, 0.5, 0.75, 1), deleted=tuple(deleted), inserted=tuple(inserted)
        ).score

    assert trust(right) > 0.1
    assert trust(1 - right) < -0.05


@pytest.mark.parametrize("family", ["timesformer", "vivit"])
def test_explanation_of_a_video(family: str, tmp_path: Path, video: Path) -> None:
    recognizer = Recognizer.from_pretrained(write_checkpoint(tmp_path, f"scratch:{family}-tiny"), device="cpu")
    plain = recognizer(video)
    rollout = recognizer.explain(video, kind="rollout")
    of_answer = recognizer.explain(video)
    of_label = recognizer.explain(plain.clip, label=plain.labels[1])
    side = recognizer.loaded.network.config.image_size // 16
    for explanation, label in ((rollout, None), (of_answer, plain.label), (of_label, plain.labels[1])):
        assert explanation.label == label
        assert explanation.prediction.labels == plain.labels
        assert explanation.prediction.probabilities == pytest.approx(plain.probabilities, abs=1e-5)
        assert explanation.heat.shape == (8, side, side)
        assert explanation.heat.min() == 0
        assert explanation.heat.max() == 1
        assert explanation.frame_importance.sum() == pytest.approx(1)
        assert explanation.region == (0.0, 0.0, 1.0, 1.0)
        found = recognizer.faithfulness(explanation)
        assert found.label == (label or plain.label)
        assert found.probability == pytest.approx(plain.probabilities[plain.labels.index(found.label)], abs=1e-5)
        assert found.shares == pytest.approx((0, 0.2, 0.4, 0.6, 0.8, 1))
        assert (found.deleted[-1], found.inserted[-1]) == (found.inserted[0], found.deleted[0])
        assert -1 <= found.to_dict()["trust"] <= 1
    assert (rollout.heat != of_label.heat).any()
    passes: list[object] = []
    classifier: Any = recognizer.loaded.network.classifier
    handle = classifier.register_forward_hook(lambda *_: passes.append(_))
    of_prediction = recognizer.explain(plain)
    handle.remove()
    assert of_prediction.prediction is plain
    assert len(passes) == 1  # the map's own
    np.testing.assert_array_equal(of_prediction.heat, of_answer.heat)


def test_invalid_kinds_are_refused(recognizer: Recognizer, video: Path) -> None:
    for wrong in ({"kind": "guess"}, {"kind": "rollout", "label": "wave"}):
        with pytest.raises(ValueError, match="kind must be one of class, rollout"):
            recognizer.explain(video, **wrong)  # type: ignore[arg-type]


def test_unknown_label_is_refused(recognizer: Recognizer, video: Path) -> None:
    clip = read_clip(video, recognizer.loaded.clip_spec)
    with pytest.raises(ModelError, match="juggle is not one of the labels of tiny"):
        recognizer.explain(clip, label="juggle")
