"""Short texts about an answer."""

from __future__ import annotations

import pytest

from hmdb.page.views.formatting import faithfulness_text, percent
from hmdb.results import Faithfulness


def map_of(deleted: tuple[float, ...], inserted: tuple[float, ...]) -> Faithfulness:
    return Faithfulness(label="shoot_bow", shares=(0.0, 0.2, 1.0), deleted=deleted, inserted=inserted)


def test_text_of_a_faithful_map() -> None:
    assert faithfulness_text(map_of((0.97, 0.36, 0.0), (0.0, 0.9, 0.97))) == (
        "With the brightest 20% of the picture hidden, “shoot bow” goes from 97% to 36%: "
        "the answer depends on these places. "
        "Trust in the map: 0.27 out of 1."
    )


@pytest.mark.parametrize(
    ("deleted", "inserted", "change", "trust"),
    [
        ((0.01, 0.05, 0.0), (0.0, 0.3, 0.01), "from 1% to 5%", "0.12"),  # more probable without the places
        ((0.004, 0.003, 0.0), (0.0, 0.001, 0.004), "from 0.4% to 0.3%", "0.00"),
        ((0.5, 0.4, 0.5), (0.1, 0.2, 0.5), "from 50% to 40%", "0.00"),  # less faithful than a random map
    ],
)
def test_text_of_an_unfaithful_map(
    deleted: tuple[float, ...], inserted: tuple[float, ...], change: str, trust: str
) -> None:
    words = faithfulness_text(map_of(deleted, inserted))
    assert f"{change}: do not read much into this map. Trust in the map: {trust} out of 1." in words


def test_small_percentages_have_a_decimal() -> None:
    assert [percent(share) for share in (0, 0.0004, 0.004, 0.0099, 0.01, 0.5, 1)] == [
        "0.0%", "0.0%", "0.4%", "1.0%", "1%", "50%", "100%",
    ]  # fmt: skip
