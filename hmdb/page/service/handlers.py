"""The endpoints of the API, which are also the MCP tools.

A handler calls the recognizer, which knows nothing of pages, and yields the values of components. An HmdbError reaches
the client as one line (`hmdb/page/server/error_reporting.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from hmdb.errors import DataError, VideoError
from hmdb.page.service import jobs
from hmdb.page.service.page_handlers import PageHandlers, resolve_label, scheduled
from hmdb.page.views.api_outputs import (
    agreement,
    chart,
    comparison,
    confidences,
    prediction_markdown,
    timeline_outputs,
)
from hmdb.page.views.formatting import escape_markup
from hmdb.page.views.gallery import gallery, overlays
from hmdb.results import Explanation, Faithfulness, Prediction
from hmdb.video import open_video

PREDICTED_CHOICE = "The answer"
ROLLOUT_CHOICE = "Everything it looked at"


class Handlers(PageHandlers):
    """Answers the page, the API and the MCP tools. The docstrings of the endpoints are the texts of the tools."""

    @scheduled
    def predict(self, video: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        """Names the action in a short video: the five likeliest labels with their probabilities.

        Args:
            video: a video file.
        """
        recognizer = self._first.local()
        progress(0.1, desc="Reading the video")
        clip = recognizer.read(required_path(video))
        progress(0.4, desc="Classifying its frames")
        prediction = self._first.call(partial(jobs.predict_clips, clips=[clip]))
        yield (
            confidences(prediction),
            prediction_markdown(prediction, len(recognizer.labels)),
            chart(prediction),
            gallery(clip),
            prediction.to_dict(),
        )

    @scheduled
    def explain(
        self,
        video: str | None,
        label: str | None = PREDICTED_CHOICE,
        opacity: float = 0.7,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:
        """Shows which patches of the frames speak for a label, or where the model looked.

        Args:
            video: a video file.
            label: one of the model's labels (default: the predicted one), or "Everything it looked at" for rollout.
            opacity: of the overlay, 0 to 1.
        """
        if type(opacity) not in (int, float) or not 0 <= opacity <= 1:
            raise DataError("The opacity must be a number from 0 to 1.")
        explanation = self._first.call(partial(jobs.map_clip, **self._map_request(video, label, progress)))
        progress(0.8, desc="Drawing the map")
        yield overlays(explanation, opacity), explanation.to_dict()

    @scheduled
    def check(
        self,
        video: str | None,
        label: str | None = PREDICTED_CHOICE,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[str]:
        """Tests an explanation map: hides, then isolates, the patches it marks and reports how the probability changes.

        Args:
            video: a video file.
            label: the label the map explains; the predicted one if omitted.
        """
        for result in self._first.stream(partial(jobs.explain_clip, **self._map_request(video, label, progress))):
            match result:
                case Explanation():
                    progress(0.5, desc="Hiding the marked patches, then showing nothing else")
                case Faithfulness():
                    yield escape_markup(result.sentence)

    def _map_request(self, video: str | None, label: str | None, progress: gr.Progress) -> dict[str, Any]:
        """Returns clip, label and kind of a map."""
        recognizer = self._first.local()
        progress(0.1, desc="Reading the video")
        clip = recognizer.read(required_path(video))
        progress(0.3, desc="Computing the map")
        chosen = label not in (None, "", PREDICTED_CHOICE, ROLLOUT_CHOICE)
        return {
            "clip": clip,
            "label": resolve_label(label, recognizer.labels) if chosen else None,
            "kind": "rollout" if label == ROLLOUT_CHOICE else "class",
        }

    @scheduled
    def timeline(self, video: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        """Finds the actions in a long video: segments with start, end, label and probability.

        Args:
            video: a video file.
        """
        path = required_path(video)
        progress(0, desc="Reading the video")
        for timeline, finished in self.iter_timelines(open_video(path)):
            progress((len(timeline.answers), timeline.num_windows), desc="Classifying its windows", unit="windows")
            yield timeline_outputs(timeline, Path(path).stem, finished=finished)

    def compare(self, video: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        """Classifies a video with each of the paper's three frame samplers, and with a second model if configured.

        Args:
            video: a video file.
        """
        runs: list[tuple[str, Prediction]] = []
        for run in self.compare_runs(required_path(video), playback=False):
            if isinstance(run, tuple):
                runs.append(run)
                progress(len(runs) / self.num_runs, desc="Classifying the next sample of frames")
        yield agreement(runs), comparison(runs), [frame for _, run in runs for frame in gallery(run.clip)]

    def labels(self) -> list[str]:
        """Lists the labels that the model knows."""
        return list(self._first.local().labels)

    def model(self) -> dict[str, Any]:
        """Describes the model that answers: its id, revision, frame sampling and precision, whether int8 is offered,
        and notes for its user.
        """
        recognizer = self._first.local()
        return {**recognizer.loaded.to_dict(), "dtype": recognizer.dtype}


def required_path(video: str | None) -> str:
    """
    Raises:
        VideoError: there is no video.
    """
    if not video:
        raise VideoError("Choose or record a video first.")
    return video
