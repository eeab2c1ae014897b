"""What the page, the API and the tools do.

Every handler is a few lines: it asks the recognizer, which knows nothing of pages, and hands what comes
back to components. What goes wrong on purpose (HmdbError) reaches the visitor as one line (`brief.py`).
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import gradio as gr

from hmdb.errors import DataError, HmdbError, ModelError, StoppedError, VideoError
from hmdb.page.server.file_store import FILES, publish_copy
from hmdb.page.service import jobs
from hmdb.page.service.model_loader import BackgroundModel
from hmdb.page.service.scheduler import Scheduler
from hmdb.page.service.zerogpu import GpuRecognizer
from hmdb.page.settings import Settings
from hmdb.page.views.api_outputs import (
    agreement,
    chart,
    comparison,
    confidences,
    prediction_markdown,
    timeline_outputs,
)
from hmdb.page.views.formatting import duration, escape_markup
from hmdb.page.views.gallery import gallery, overlays
from hmdb.page.views.preview import make_preview, plays_in_browser
from hmdb.page.views.walkthrough import AnswerTrace
from hmdb.results import Explanation, Faithfulness, Prediction
from hmdb.text import label_words, one_line

if TYPE_CHECKING:
    from hmdb.clips.clip import Clip, ClipSpec
    from hmdb.results import Timeline

T = TypeVar("T")

PAPER_SAMPLERS = ("uniform", "equidistant", "random")
PREDICTED_CHOICE = "The answer"
ROLLOUT_CHOICE = "Everything it looked at"
MAX_NAME = 80  # characters of a name that is not known and said again


class HasTurns(Protocol):
    @property
    def turns(self) -> Scheduler: ...


def scheduled(handler: Callable[..., Iterator[T]]) -> Callable[..., Iterator[T]]:
    """The handler, a generator of what it knows so far, in its turn. One that was cancelled ends in silence.

    A file that it is given stays until it ends, however long it waits. It takes one argument more, `asker`: see
    `Scheduler.steps`.
    """

    @functools.wraps(handler)
    def answer(self: HasTurns, source: Any, *arguments: Any, asker: object = None, **options: Any) -> Iterator[T]:
        with FILES.pin(source) if isinstance(source, str) else nullcontext():
            yield from self.turns.steps(handler.__name__, lambda: handler(self, source, *arguments, **options), asker)

    return answer


class Handlers:
    """What the page, the API and the tools do.

    Nothing here belongs to one visitor: what a handler knows it was given.
    """

    def __init__(
        self,
        loading: BackgroundModel,
        second: BackgroundModel | None,
        settings: Settings,
        examples: Iterable[Path] = (),
    ) -> None:
        self._first = GpuRecognizer(loading)
        self._second = GpuRecognizer(second) if second else None
        self._settings = settings
        self._examples = frozenset(map(str, examples))
        self._kept: dict[str, list[Prediction | Explanation | Faithfulness]] = {}  # answers for examples
        self.turns = Scheduler(
            settings.concurrency,
            settings.answer_timeout_seconds,
            most=settings.max_waiting,
            share=settings.max_per_address,
            ready=self._first.here,
        )

    @property
    def state(self) -> str:
        """ "loading", "ready", or "failed" where there is no model that could answer."""
        return self._first.state

    @property
    def num_labels(self) -> int:
        return len(self._first.here().labels)

    @property
    def clip_spec(self) -> ClipSpec:
        return self._first.here().loaded.clip_spec

    @scheduled
    def plays(self, path: str) -> Iterator[bool]:
        """Whether browsers play a video as it is."""
        yield plays_in_browser(path)

    @scheduled
    def preview(self, path: str) -> Iterator[str]:
        """A file that browsers play in place of a video that they do not."""
        if not plays_in_browser(path):
            with tempfile.TemporaryDirectory() as folder:
                film = publish_copy(make_preview(path, Path(folder) / "preview"))
            yield film

    @scheduled
    def answer(self, path: str) -> Iterator[Prediction | Explanation | Faithfulness]:
        """The answer for a video, then what speaks for it, then what that is worth."""
        if kept := self._kept.get(path):
            yield from kept
            return
        found: list[Prediction | Explanation | Faithfulness] = []
        clip = self._first.here().read(path)
        for each in self._first.stream(partial(jobs.answered, clip=clip)):
            found.append(each)
            yield each
        if path in self._examples:
            self._kept[path] = found

    @scheduled
    def closer(self, path: str) -> Iterator[AnswerTrace]:
        """What the steps to the answer for a video are told from."""
        recognizer = self._first.here()
        known = [each for each in self._kept.get(path, ()) if isinstance(each, Explanation)]
        source = known[0] if known else recognizer.read(path)
        explanation, attention = self._first.call(partial(jobs.attended, source=source))
        prediction = explanation.prediction
        yield AnswerTrace(
            explanation=explanation,
            attention=attention,
            input_frames=recognizer.model_input(prediction.clip),
            calibration_bin=recognizer.loaded.calibration.bin_for(prediction.probability),
        )

    @scheduled
    def look(self, clip: Clip) -> Iterator[Prediction]:
        """The answer for a clip, with all labels."""
        yield self._first.call(partial(jobs.predictions, clips=[clip], top_k=self.num_labels))

    @scheduled
    def why(self, path: str, label: str) -> Iterator[Explanation | Faithfulness]:
        """What speaks for one label, as people write it, then what that is worth."""
        recognizer = self._first.here()
        wanted = resolve_label(label, recognizer.labels)
        yield from self._first.stream(partial(jobs.explained, clip=recognizer.read(path), label=wanted))

    @scheduled
    def predict(self, video: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        """Names the action in a short video: the five likeliest labels with their probabilities.

        Args:
            video: a video file.
        """
        recognizer = self._first.here()
        progress(0.1, desc="Reading the video")
        clip = recognizer.read(required_path(video))
        progress(0.4, desc="Looking at its frames")
        prediction = self._first.call(partial(jobs.predictions, clips=[clip]))
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
        """Shows what in the frames speaks for a label, or where the model looked.

        Args:
            video: a video file.
            label: one of the model's labels for what speaks for it, left out the answer's; or "Everything it
                looked at" for attention rollout.
            opacity: of the overlay, 0 to 1.
        """
        if type(opacity) not in (int, float) or not 0 <= opacity <= 1:
            raise DataError("The opacity must be a number from 0 to 1.")
        explanation = self._first.call(partial(jobs.mapped, **self._wanted(video, label, progress)))
        progress(0.8, desc="Drawing")
        yield overlays(explanation, opacity), explanation.to_dict()

    @scheduled
    def check(
        self,
        video: str | None,
        label: str | None = PREDICTED_CHOICE,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[str]:
        """Says in words whether such a map means anything, by hiding what it marks and by showing nothing else.

        Args:
            video: a video file.
            label: as for the map.
        """
        for found in self._first.stream(partial(jobs.explained, **self._wanted(video, label, progress))):
            match found:
                case Explanation():
                    progress(0.5, desc="Hiding what it marks, then showing nothing else")
                case Faithfulness():
                    yield escape_markup(found.sentence)

    def _wanted(self, video: str | None, label: str | None, progress: gr.Progress) -> dict[str, Any]:
        """The clip, label and kind of a map."""
        recognizer = self._first.here()
        progress(0.1, desc="Reading the video")
        clip = recognizer.read(required_path(video))
        progress(0.3, desc="Looking at its frames")
        wanted = (
            None if label in (None, "", PREDICTED_CHOICE, ROLLOUT_CHOICE) else resolve_label(label, recognizer.labels)
        )
        return {"clip": clip, "label": wanted, "kind": "rollout" if label == ROLLOUT_CHOICE else "class"}

    def timeline(self, video: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        """Follows a long video: which action when, as segments with start, end, label and probability.

        Args:
            video: a video file.
        """
        path = required_path(video)
        progress(0, desc="Reading the video")
        for timeline, finished in self.follow(path):
            progress((len(timeline.answers), timeline.num_windows), desc="Looking at windows of it", unit="windows")
            yield timeline_outputs(timeline, Path(path).stem, finished=finished)

    @scheduled
    def follow(self, path: str) -> Iterator[tuple[Timeline, bool]]:
        """The timeline as far as it is known, and whether that is all: the end is reached, or the time is over."""
        timeline = None
        most = self._settings.max_windows
        job = partial(jobs.followed, path=path, max_windows=most)
        size = partial(jobs.num_windows, self._first.here(), path, most)
        try:
            for timeline in self._first.stream(job, size, in_time=True):
                if not timeline.is_complete:
                    yield timeline, False
        except StoppedError:
            if timeline is None:
                raise
        if timeline is not None:
            yield timeline, True

    def compare(self, video: str | None, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        """The same video under the paper's three ways to take frames, and under a second model where one is set.

        Args:
            video: a video file.
        """
        runs: list[tuple[str, Prediction]] = []
        for run in self.runs(required_path(video)):
            runs.append(run)
            progress(len(runs) / self.num_runs, desc="Taking frames in another way")
        yield agreement(runs), comparison(runs), [frame for _, run in runs for frame in gallery(run.clip)]

    def runs(self, path: str, asker: object = None) -> Iterator[tuple[str, Prediction]]:
        """The answers of each sampler, and of the second model where there is one, with their names."""
        both = self._second.settle if self._second else lambda: None
        with FILES.pin(path):
            yield from self.turns.steps("runs", lambda: self._runs(path), asker, ready=both)

    def _runs(self, path: str) -> Iterator[tuple[str, Prediction]]:
        samplers = self._samplers()
        clips = [self._first.here().read(path, sampler=sampler) for sampler in samplers]
        found = self._first.stream(partial(jobs.predictions, clips=clips), lambda: len(clips))
        yield from zip(samplers, found, strict=True)
        if self._second:
            second = self._second.here()
            clip = second.read(path)
            yield second.loaded.checkpoint.name, self._second.call(partial(jobs.predictions, clips=[clip]))

    @property
    def num_runs(self) -> int:
        return len(self._samplers()) + bool(self._second)

    def _samplers(self) -> list[str]:
        """The paper's three, and the checkpoint's own where it has another."""
        return list(dict.fromkeys((*PAPER_SAMPLERS, self._first.here().loaded.clip_spec.sampler)))

    def labels(self) -> list[str]:
        """The labels that the model knows."""
        return list(self._first.here().labels)

    def model(self) -> dict[str, Any]:
        """Which model answers: its id, revision, how it takes clips, its precision and whether int8 is offered,
        and what its user should know.
        """
        recognizer = self._first.here()
        return {**recognizer.loaded.to_dict(), "dtype": recognizer.dtype}

    def cancel(self, asker: object) -> None:
        """Ends what is under way for this visitor and part of the page; what goes on in others does."""
        self.turns.cancel(asker)

    def describe(self) -> tuple[str, str]:
        """Which weights answer and what their user should know about them; the actions they know."""
        try:
            loaded = self._first.here().loaded
        except HmdbError as error:
            return f"**No model could be loaded.** {escape_markup(str(error))}", ""
        checkpoint = loaded.checkpoint
        own = checkpoint.name == "bundled"
        name = "the checkpoint that comes with this page" if own else f"**{escape_markup(checkpoint.name)}**"
        at = f" at revision {checkpoint.revision[:12]}" if checkpoint.revision else ""
        notes = "".join(f"\n\n**Note:** {escape_markup(note)}" for note in loaded.notes)
        answers = f"Answers come from {name}{at}, which knows {len(loaded.labels)} actions."
        kept = (
            f"Videos may be at most {self._settings.max_upload_mb} MB. They and their answers are deleted after "
            f"{duration(self._settings.keep_seconds)} at the latest, and no other visitor sees them."
        )
        return f"{answers} {kept}{notes}", ", ".join(escape_markup(label_words(label)) for label in loaded.labels)


def required_path(video: str | None) -> str:
    if not video:
        raise VideoError("Choose or record a video first.")
    return video


def resolve_label(label: object, labels: tuple[str, ...]) -> str:
    """The model's label for one that is written as people write it.

    Raises:
        ModelError: it has none.
    """
    for known in labels:
        if label in (known, label_words(known)):
            return known
    what = one_line(label) if isinstance(label, str) and len(label) <= MAX_NAME else "What was named"
    raise ModelError(f"{what} is not one of the labels: {', '.join(labels[:3])}, ...")
