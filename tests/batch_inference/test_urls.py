from __future__ import annotations

import doctest

import pytest

from hmdb.batch_inference import urls
from hmdb.batch_inference.urls import redact_urls, redacted_key

S3 = "https://bucket.s3.amazonaws.com/a%20b.mp4"


def test_doctests() -> None:
    assert doctest.testmod(urls).failed == 0


@pytest.mark.parametrize(
    ("location", "key"),
    [
        ("/videos/what?.mp4", "/videos/what?.mp4"),
        (f"{S3}?X-Amz-Date=1&X-Amz-Credential=me&X-Amz-Signature=0f", S3),
        (f"{S3}?AWSAccessKeyId=me&Signature=0f&Expires=9#top", S3),
        ("https://host/a.mp4?X-Goog-Signature=0f", "https://host/a.mp4"),
        ("https://host/a.mp4?sv=2024&sp=r&se=9&sig=0f", "https://host/a.mp4"),
        ("https://me:secret@host:8080/a.mp4", "https://host:8080/a.mp4"),
        ("sftp://me:secret@host/a.mp4", "sftp://me@host/a.mp4"),
        ("abfs://container@account.example/a?b#c.mp4", "abfs://container@account.example/a?b#c.mp4"),
        ("s3://bucket/a?b#c.mp4", "s3://bucket/a?b#c.mp4"),
        ("zip://a.mp4::https://host/all.zip?Signature=0f", "zip://a.mp4::https://host/all.zip"),
    ],
)
def test_a_key_has_no_credentials_and_is_its_own_key(location: str, key: str) -> None:
    assert redacted_key(location) == key
    assert redacted_key(key) == key


def test_the_rest_of_a_query_is_hashed() -> None:
    first, again, other = (
        redacted_key(f"https://host/get?{query}")
        for query in ("id=17&Signature=a", "Signature=b&id=17", "id=18&Signature=a")
    )
    assert first == again == redacted_key(first)
    assert first != other
    assert "17" not in first.partition("?")[0]
    assert redacted_key("https://host/get?key=hunter2").startswith("https://host/get?digest=")


def test_urls_in_messages_are_redacted() -> None:
    location = "https://me:pw@host/a b.mp4?Signature=s3cr3t"
    message = f"403, url='https://cdn.host/x?Signature=0f' after {location}, see https://docs.host/why"
    assert redact_urls(message, location) == (
        "403, url='https://cdn.host/x' after https://host/a b.mp4, see https://docs.host/why"
    )
