"""URLs, and the names that they go by in rows and messages: without what is secret in them."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

# Parameters that say who may read and until when, not what is read: those of S3, GCS, CloudFront, OSS and Akamai.
AUTH_PARAMETERS = frozenset(
    {
        *("access_token", "expires", "policy", "security-token", "signature", "token"),
        *("awsaccesskeyid", "exp", "googleaccessid", "hdnea", "hdnts", "hmac", "key-pair-id", "ossaccesskeyid"),
    }
)
AUTH_PARAMETER_PREFIXES = ("x-amz-", "x-goog-", "x-oss-")
# Azure's are short words of their own sense elsewhere, so that they count as such only beside its signature.
AZURE = frozenset(
    {
        *("se", "sig", "sip", "sp", "spr", "sr", "srt", "ss", "st", "sv"),
        *("saoid", "scid", "skdutid", "ske", "skoid", "sks", "skt", "sktid", "skv", "suoid"),
    }
)
IS_DIGEST = re.compile("digest=[0-9a-f]{16}")
IN_TEXT = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)


def is_url(path: str) -> bool:
    return "://" in path


def redacted_key(location: str) -> str:
    """What a video is called in its row: a path as it is, a URL without passwords, signatures and fragment.

    What else its query says is part of which video it is, and may be secret all the same: a digest stands for it.
    So a URL that is signed anew keeps its key.

    >>> redacted_key("https://me:pw@host/a.mp4?X-Amz-Signature=abc"), redacted_key("https://host/get?id=17&Expires=9")
    ('https://host/a.mp4', 'https://host/get?digest=da15bd1c8a6f47c4')
    """
    return "::".join(_key(part) if is_url(part) else part for part in location.split("::"))


def _key(url: str) -> str:
    scheme, host, path, query, _ = urlsplit(url)
    user, at, host = host.rpartition("@")
    if scheme in ("http", "https"):
        return urlunsplit((scheme, host, path, _digest(query), ""))
    _, slash, inside = url.partition("://")[2].partition("/")  # where ? and # may be part of a name
    return f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{inside}"


def _digest(query: str) -> str:
    if IS_DIGEST.fullmatch(query):
        return query
    named = parse_qsl(query, keep_blank_values=True)
    passes = AUTH_PARAMETERS | AZURE if "sig" in {name.lower() for name, _ in named} else AUTH_PARAMETERS
    left = sorted(
        pair
        for pair in named
        if pair[0].lower() not in passes and not pair[0].lower().startswith(AUTH_PARAMETER_PREFIXES)
    )
    return f"digest={hashlib.sha256(urlencode(left).encode()).hexdigest()[:16]}" if left else ""


def without_secrets(text: str, location: str = "") -> str:
    """A message, with the keys of URLs in their places.

    Args:
        location: that it is about, which may have characters in it that end a URL in a text.
    """
    if location:
        text = text.replace(location, redacted_key(location))
    return IN_TEXT.sub(lambda found: redacted_key(found[0]), text)
