"""The jobs of the network: each is one call where a GPU is lent.

A job is a function of a module, so that its name is enough to find it in another process, and a generator of results
that can be pickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hmdb.clips.windows import windows
from hmdb.results import Explanation
from hmdb.video import open_video

if TYPE_CHECKING:
    from hmdb.clips.clip import Clip
    from hmdb.explain.patch_attention import PatchAttention
    from hmdb.recognizer import Recognizer
    from hmdb.results import Faithfulness, Prediction, Timeline


def predictions(recognizer: Recognizer, clips: Sequence[Clip], top_k: int = 5) -> Iterator[Prediction]:
    """The answer for each clip."""
    for clip in clips:
        yield recognizer.predict(clip, top_k=top_k)


def answered(recognizer: Recognizer, clip: Clip) -> Iterator[Prediction | Explanation | Faithfulness]:
    """The answer for a clip, what speaks for it, and what that is worth."""
    prediction = recognizer.predict(clip)
    yield prediction
    yield from explained(recognizer, prediction, prediction.label)


def explained(
    recognizer: Recognizer, clip: Clip | Prediction, label: str | None, kind: str = "class"
) -> Iterator[Explanation | Faithfulness]:
    """The map of a label for a clip or for its answer, and what it is worth."""
    explanation = recognizer.explain(clip, label=label, kind=kind)
    yield explanation
    yield recognizer.faithfulness(explanation)


def mapped(recognizer: Recognizer, clip: Clip, label: str | None, kind: str) -> Iterator[Explanation]:
    """The map of a label alone."""
    yield recognizer.explain(clip, label=label, kind=kind)


def attended(recognizer: Recognizer, source: Clip | Explanation) -> Iterator[tuple[Explanation, PatchAttention]]:
    """The map of the answer, made where it is not given, and what its most relevant patch attends to."""
    explanation = source if isinstance(source, Explanation) else recognizer.explain(source)
    yield explanation, recognizer.patch_attention(explanation)


def followed(recognizer: Recognizer, path: str, max_windows: int) -> Iterator[Timeline]:
    """The timeline of a long video, after each few windows."""
    yield from recognizer.iter_timeline(path, max_windows=max_windows)


def num_windows(recognizer: Recognizer, path: str, max_windows: int) -> int:
    """How many windows of a video that job looks at, unless the file counts its frames wrongly."""
    return len(windows(open_video(path).num_frames, recognizer.loaded.clip_spec, max_windows=max_windows))
