"""URL keys for rows and messages, with credentials removed."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

# Parameters that authorize a request rather than name its object: those of S3, GCS, CloudFront, OSS and Akamai.
AUTH_PARAMETERS = frozenset(
    {
        *("access_token", "expires", "policy", "security-token", "signature", "token"),
        *("awsaccesskeyid", "exp", "googleaccessid", "hdnea", "hdnts", "hmac", "key-pair-id", "ossaccesskeyid"),
    }
)
AUTH_PARAMETER_PREFIXES = ("x-amz-", "x-goog-", "x-oss-")
# Azure's are short and mean other things elsewhere, so they count only together with its signature, sig.
AZURE_PARAMETERS = frozenset(
    {
        *("se", "sig", "sip", "sp", "spr", "sr", "srt", "ss", "st", "sv"),
        *("saoid", "scid", "skdutid", "ske", "skoid", "sks", "skt", "sktid", "skv", "suoid"),
    }
)
DIGEST_QUERY = re.compile("digest=[0-9a-f]{16}")
URL_IN_TEXT = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE)


def is_url(path: str) -> bool:
    return "://" in path


def redacted_key(location: str) -> str:
    """The key of a video in its row: a path as it is, a URL without password, signature and fragment.

    The rest of the query may both identify the video and be secret, so a digest replaces it. A URL with a new
    signature keeps its key.

    >>> redacted_key("https://me:pw@host/a.mp4?X-Amz-Signature=abc"), redacted_key("https://host/get?id=17&Expires=9")
    ('https://host/a.mp4', 'https://host/get?digest=da15bd1c8a6f47c4')
    """
    return "::".join(_redact(part) if is_url(part) else part for part in location.split("::"))


def _redact(url: str) -> str:
    scheme, host, path, query, _ = urlsplit(url)
    user, at, host = host.rpartition("@")
    if scheme in ("http", "https"):
        return urlunsplit((scheme, host, path, _query_digest(query), ""))
    _, slash, path = url.partition("://")[2].partition("/")  # of object stores, whose names may have ? and #
    return f"{scheme}://{user.partition(':')[0]}{at}{host}{slash}{path}"


def _query_digest(query: str) -> str:
    if DIGEST_QUERY.fullmatch(query):
        return query
    parameters = parse_qsl(query, keep_blank_values=True)
    ignored = (
        AUTH_PARAMETERS | AZURE_PARAMETERS if "sig" in {name.lower() for name, _ in parameters} else AUTH_PARAMETERS
    )
    kept = sorted(
        (name, value)
        for name, value in parameters
        if name.lower() not in ignored and not name.lower().startswith(AUTH_PARAMETER_PREFIXES)
    )
    return f"digest={hashlib.sha256(urlencode(kept).encode()).hexdigest()[:16]}" if kept else ""


def redact_urls(text: str, location: str = "") -> str:
    """Replaces each URL in a message by its key.

    Args:
        location: the URL that the message is about; it may hold characters, such as blanks, that end a URL in a text.
    """
    if location:
        text = text.replace(location, redacted_key(location))
    return URL_IN_TEXT.sub(lambda match: redacted_key(match[0]), text)
