"""The model's work for one question: each job is one call where a GPU is lent.

A job is a function of a module, so that another process finds it by name, and a generator of results that can be
pickled. An open `Video` can be pickled too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hmdb.clips.windows import windows
from hmdb.results import Explanation

if TYPE_CHECKING:
    from hmdb.clips.clip import Clip
    from hmdb.explain.patch_attention import PatchAttention
    from hmdb.recognizer import Recognizer
    from hmdb.results import Faithfulness, Prediction, Timeline
    from hmdb.video import Video


def predict_clips(recognizer: Recognizer, clips: Sequence[Clip], top_k: int = 5) -> Iterator[Prediction]:
    """Yields the prediction of each clip."""
    for clip in clips:
        yield recognizer.predict(clip, top_k=top_k)


def answer_clip(recognizer: Recognizer, clip: Clip) -> Iterator[Prediction | Explanation | Faithfulness]:
    """Yields the prediction of a clip, the map of the predicted label, and the faithfulness of that map."""
    prediction = recognizer.predict(clip)
    yield prediction
    yield from explain_clip(recognizer, prediction, prediction.label)


def explain_clip(
    recognizer: Recognizer, clip: Clip | Prediction, label: str | None, kind: str = "class"
) -> Iterator[Explanation | Faithfulness]:
    """Yields the map of a label and its faithfulness."""
    explanation = recognizer.explain(clip, label=label, kind=kind)
    yield explanation
    yield recognizer.faithfulness(explanation)


def map_clip(recognizer: Recognizer, clip: Clip, label: str | None, kind: str) -> Iterator[Explanation]:
    """Yields the map of a label alone."""
    yield recognizer.explain(clip, label=label, kind=kind)


def trace_attention(recognizer: Recognizer, source: Clip | Explanation) -> Iterator[tuple[Explanation, PatchAttention]]:
    """Yields the map of the predicted label, computed unless given, and the attention of its most relevant patch."""
    explanation = source if isinstance(source, Explanation) else recognizer.explain(source)
    yield explanation, recognizer.patch_attention(explanation)


def follow_video(recognizer: Recognizer, video: Video, max_windows: int) -> Iterator[Timeline]:
    """Yields the timeline of a long video so far, after each few windows."""
    yield from recognizer.iter_timeline(video, max_windows=max_windows)


def num_windows(recognizer: Recognizer, video: Video, max_windows: int) -> int:
    """Number of windows that `follow_video` answers, unless the file announces a wrong number of frames."""
    return len(windows(video.num_frames, recognizer.loaded.clip_spec.at_rate(video.fps), max_windows=max_windows))
