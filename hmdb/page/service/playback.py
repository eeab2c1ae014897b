"""The file that a browser plays: the video itself, or a preview of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hmdb.errors import HmdbError
from hmdb.page.server.file_store import publish_copy
from hmdb.page.views.preview import make_preview, plays_in_browser
from hmdb.video import Video

T = TypeVar("T")


class PreviewError(HmdbError):
    """No preview could be made of a video that browsers do not play."""


@dataclass(frozen=True)
class Playback:
    """A file that browsers can play: the video itself, or a preview of it."""

    path: str
    is_preview: bool = False


def with_playback(path: str, video: Video, results: Iterable[T]) -> Iterator[Playback | T | PreviewError]:
    """Yields the video first if browsers play it, then the results, then a preview if browsers do not.

    A preview can take longer than the results. If it fails, a PreviewError is yielded, and the results stand.
    """
    playable = plays_in_browser(path, video)
    if playable:
        yield Playback(path)
    yield from results
    if playable:
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            preview = publish_copy(make_preview(video, Path(folder) / "preview"))
    except HmdbError as error:
        failure = PreviewError(f"The video cannot be played here. {error}")
        failure.__cause__ = error
        yield failure
    else:
        yield Playback(preview, is_preview=True)
