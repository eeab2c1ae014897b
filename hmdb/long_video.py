"""Classifies a long video window by window."""

from __future__ import annotations

from collections.abc import Generator

from hmdb.clips.clip import ClipSpec
from hmdb.clips.reader import take_clips
from hmdb.clips.windows import boundaries, chunked, windows
from hmdb.model.loading import LoadedModel
from hmdb.model.scoring import score, to_batch
from hmdb.results import Timeline, WindowAnswer
from hmdb.video import Video

BATCH_WINDOWS = 4  # windows in one batch
BATCH_BYTES = 256 * 2**20  # limit of the decoded frames of a batch; one window may need more


def iter_timeline(
    loaded: LoadedModel, video: Video, num_frames: int, spec: ClipSpec, max_windows: int
) -> Generator[Timeline]:
    """Yields the timeline of a video of `num_frames` frames as it grows, after each batch of windows.

    Raises:
        VideoError: a frame cannot be decoded.
        ModelError: a logit is not finite.
    """
    spec = spec.at_rate(video.fps)
    all_windows = windows(num_frames, spec, max_windows=max_windows)
    answers: list[WindowAnswer] = []
    for batch in chunked(all_windows, _windows_per_batch(video, spec)):
        clips = list(take_clips(video, spec, batch))
        scores = score(loaded, to_batch(loaded, clips))
        answers += [
            each.window_answer(window, moves=clip.moves)
            for window, clip, each in zip(batch, clips, scores, strict=True)
        ]
        yield Timeline(
            answers=tuple(answers),
            num_windows=len(all_windows),
            num_frames=num_frames,
            fps=video.fps,
            model=loaded.checkpoint.name,
            revision=loaded.checkpoint.revision,
            spec=spec,
            seconds=video.seconds_at(boundaries(all_windows[: len(answers)])),
        )


def _windows_per_batch(video: Video, spec: ClipSpec) -> int:
    width, height = video.size
    return min(max(BATCH_BYTES // (spec.num_frames * width * height * 3), 1), BATCH_WINDOWS)
