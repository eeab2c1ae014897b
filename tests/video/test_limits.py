import pytest

from hmdb.errors import DataError
from hmdb.video.limits import Limits


def test_the_environment_sets_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMDB_DECODE_SECONDS", "2.5")
    monkeypatch.setenv("HMDB_DECODE_MEMORY_MB", "2000")
    limits = Limits.from_environment()
    assert (limits.seconds, limits.memory_mb, limits.workers) == (2.5, 2000, Limits().workers)


@pytest.mark.parametrize("value", ["", "0", "-1", "soon", "nan", "inf"])
def test_invalid_limits_are_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HMDB_DECODE_SECONDS", value)
    with pytest.raises(DataError, match="HMDB_DECODE_SECONDS must be a positive number"):
        Limits.from_environment()


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((320, 240), (320, 240)), ((1280, 720), (1280, 720)), ((3840, 2160), (1280, 720)), ((2160, 3840), (720, 1280))],
)
def test_large_pictures_are_reduced_in_proportion(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert Limits().fitted(*size) == fitted


def test_a_reduced_side_has_at_least_one_pixel() -> None:
    assert min(Limits().fitted(10**7, 3)) >= 1
