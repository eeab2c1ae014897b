"""Short texts about an answer."""

from __future__ import annotations

import pytest

from hmdb.model.calibration import ReliabilityBin
from hmdb.page.views.formatting import faithfulness_text, percent, reliability_text
from hmdb.results import Faithfulness


def map_of(deleted: tuple[float, ...], inserted: tuple[float, ...]) -> Faithfulness:
    return Faithfulness(label="shoot_bow", shares=(0.0, 0.2, 1.0), deleted=deleted, inserted=inserted)


@pytest.mark.parametrize(
    ("deleted", "inserted", "strength", "meaning", "change"),
    [
        ((0.97, 0.36, 0.0), (0.0, 0.9, 0.97), "Strong", "the answer rests on these places", "from 97% to 36%."),
        ((0.88, 0.62, 0.0), (0.0, 0.9, 0.88), "Weak", "the answer rests on more than these places", "from 88% to 62%."),
        ((1.0, 0.84, 0.0), (0.0, 0.9, 1.0), "No", "the answer does not rest on these places", "from 100% to 84%."),
        ((0.01, 0.05, 0.0), (0.0, 0.3, 0.01), "No", "the answer does not rest on these places", "from 1% to 5%."),
        ((0.5, 0.1, 0.5), (0.1, 0.1, 0.5), "No", "the answer does not rest on these places", "from 50% to 10%."),
        ((0.0, 0.0, 0.0), (0.0, 0.3, 0.0), "No", "the answer does not rest on these places", "from 0.0% to 0.0%."),
    ],
)  # fmt: skip
def test_text_of_a_map(
    deleted: tuple[float, ...], inserted: tuple[float, ...], strength: str, meaning: str, change: str
) -> None:
    hidden = "With the brightest 20% of the picture hidden, “shooting a bow” goes"
    assert faithfulness_text(map_of(deleted, inserted)) == f"{strength} evidence: {meaning}. {hidden} {change}"


def test_confidence_is_stated_as_a_count() -> None:
    reliability = ReliabilityBin(low=0.9, high=1.0, count=66, right=64)
    text = "Right 64 of 66 times when it was this sure, on clips of one of its 25 actions."
    assert reliability_text(reliability, 25) == text


def test_small_percentages_have_a_decimal() -> None:
    assert [percent(share) for share in (0, 0.0004, 0.004, 0.0099, 0.01, 0.5, 1)] == [
        "0.0%", "0.0%", "0.4%", "1.0%", "1%", "50%", "100%",
    ]  # fmt: skip
