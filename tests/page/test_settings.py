"""Settings from the environment."""

from __future__ import annotations

import pytest

from hmdb.errors import DataError
from hmdb.page.settings import Settings


@pytest.mark.parametrize(
    ("variable", "field", "value"),
    [
        ("HMDB_SHARE", "max_per_address", "3"),
        ("HMDB_MAX_PER_ADDRESS", "max_per_address", "3"),
        ("HMDB_AT_ONCE", "concurrency", "2"),
        ("HMDB_CONCURRENCY", "concurrency", "2"),
        ("HMDB_SECONDS", "answer_timeout_seconds", "1.5"),
        ("HMDB_ANSWER_TIMEOUT_SECONDS", "answer_timeout_seconds", "1.5"),
        ("HMDB_WINDOWS", "max_windows", "5"),
        ("HMDB_MAX_WINDOWS", "max_windows", "5"),
        ("HMDB_PROXIES", "trusted_proxies", "0"),
        ("HMDB_TRUSTED_PROXIES", "trusted_proxies", "0"),
        ("HMDB_COMPARE", "second_model", "a/b"),
        ("HMDB_SECOND_MODEL", "second_model", "a/b"),
    ],
)
def test_settings_are_read_under_new_and_former_names(
    monkeypatch: pytest.MonkeyPatch, variable: str, field: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    default = getattr(Settings(), field)
    assert getattr(Settings.from_environment(), field) == type(default)(value)


def test_a_setting_under_both_its_names_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMDB_SHARE", "3")
    monkeypatch.setenv("HMDB_MAX_PER_ADDRESS", "4")
    with pytest.raises(DataError, match=r"^HMDB_MAX_PER_ADDRESS and HMDB_SHARE are one setting\."):
        Settings.from_environment()


def test_an_invalid_value_is_reported_under_the_name_that_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMDB_AT_ONCE", "1.5")
    with pytest.raises(DataError, match=r"^HMDB_AT_ONCE must be a positive whole number, not '1\.5'\.$"):
        Settings.from_environment()
