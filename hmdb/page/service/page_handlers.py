"""The questions of the page's tabs: each is one scheduled job."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hmdb.errors import HmdbError, ModelError, StoppedError
from hmdb.page.server.file_store import FILES
from hmdb.page.service import jobs
from hmdb.page.service.model_loader import BackgroundModel
from hmdb.page.service.playback import Playback, PreviewError, with_playback
from hmdb.page.service.scheduler import Scheduler
from hmdb.page.service.zerogpu import GpuRecognizer
from hmdb.page.settings import Settings
from hmdb.page.views.formatting import duration, escape_markup
from hmdb.page.views.walkthrough import AnswerTrace
from hmdb.results import Explanation, Faithfulness, Prediction
from hmdb.text import action_name, label_words, one_line
from hmdb.video import Video, open_video

if TYPE_CHECKING:
    from hmdb.clips.clip import Clip, ClipSpec
    from hmdb.model.calibration import ReliabilityBin
    from hmdb.results import Timeline

T = TypeVar("T")

PAPER_SAMPLERS = ("uniform", "equidistant", "random")
MAX_LABEL = 80  # characters of an unknown label that an error repeats


def scheduled(handler: Callable[..., Iterator[T]]) -> Callable[..., Iterator[T]]:
    """Runs a generator handler through the scheduler; a cancelled one ends without an error.

    Its file is kept until it ends, however long it waits. It takes one more argument, `owner`: see `Scheduler.run`.
    """

    @functools.wraps(handler)
    def answer(self: PageHandlers, source: Any, *arguments: Any, owner: object = None, **options: Any) -> Iterator[T]:
        work = partial(handler, self, source, *arguments, **options)
        yield from self._schedule(handler.__name__, source, work, owner)  # Gradio looks for a generator function

    return answer


class PageHandlers:
    """Answers the questions of all clients; it keeps nothing of any of them."""

    def __init__(
        self,
        model: BackgroundModel,
        second: BackgroundModel | None,
        settings: Settings,
        examples: Iterable[Path] = (),
    ) -> None:
        self._first = GpuRecognizer(model)
        self._second = GpuRecognizer(second) if second else None
        self._settings = settings
        self._examples = frozenset(map(str, examples))
        self._example_cache: dict[str, list[Prediction | Explanation | Faithfulness]] = {}
        self.scheduler = Scheduler(
            settings.concurrency,
            settings.answer_timeout_seconds,
            max_pending=settings.max_waiting,
            max_per_address=settings.max_per_address,
            wait_until_ready=self._first.local,
        )

    def _schedule(
        self,
        name: str,
        source: object,
        work: Callable[[], Iterator[T]],
        owner: object,
        wait_until_ready: Callable[[], object] = lambda: None,
    ) -> Iterator[T]:
        with FILES.pin(source) if isinstance(source, str) else nullcontext():
            yield from self.scheduler.run(name, work, owner, wait_until_ready=wait_until_ready)

    @property
    def state(self) -> str:
        """ "loading", "ready", or "failed" if no model could be loaded."""
        return self._first.state

    @property
    def num_labels(self) -> int:
        return len(self._first.local().labels)

    def reliability(self, prediction: Prediction) -> ReliabilityBin | None:
        """The share of right answers among those as confident as this one; None if it was not measured."""
        return self._first.local().loaded.calibration.bin_for(prediction.probability)

    @property
    def clip_spec(self) -> ClipSpec:
        return self._first.local().loaded.clip_spec

    @scheduled
    def answer(self, path: str) -> Iterator[Playback | Prediction | Explanation | Faithfulness | HmdbError]:
        """Yields playback, prediction, explanation and faithfulness for a video, which is opened once.

        If the explanation fails, its error is yielded in its place, and the prediction stands.
        """
        video = open_video(path)
        yield from with_playback(path, video, self._example_cache.get(path) or self._answer(path, video))

    def _answer(self, path: str, video: Video) -> Iterator[Prediction | Explanation | Faithfulness | HmdbError]:
        clip = self._first.local().read(video)
        parts: list[Prediction | Explanation | Faithfulness] = []
        try:
            for part in self._first.stream(partial(jobs.answer_clip, clip=clip)):
                parts.append(part)
                yield part
        except HmdbError as error:
            if not parts:
                raise
            yield error
        else:
            if path in self._examples:
                self._example_cache[path] = parts

    @scheduled
    def trace_answer(self, path: str) -> Iterator[AnswerTrace]:
        """Yields the data of the step-by-step walkthrough."""
        recognizer = self._first.local()
        cached = [part for part in self._example_cache.get(path, ()) if isinstance(part, Explanation)]
        source = cached[0] if cached else recognizer.read(path)
        explanation, attention = self._first.call(partial(jobs.trace_attention, source=source))
        prediction = explanation.prediction
        yield AnswerTrace(
            explanation=explanation,
            attention=attention,
            input_frames=recognizer.model_input(prediction.clip),
            sees_order=recognizer.sees_order,
            calibration_bin=self.reliability(prediction),
        )

    @scheduled
    def classify_clip(self, clip: Clip) -> Iterator[Prediction]:
        """Yields the prediction of a clip, with the probabilities of all labels."""
        yield self._first.call(partial(jobs.predict_clips, clips=[clip], top_k=self.num_labels))

    @scheduled
    def explain_label(self, path: str, label: str) -> Iterator[Explanation | Faithfulness]:
        """Yields the explanation of one label, written as on the page, and its faithfulness."""
        recognizer = self._first.local()
        label = resolve_label(label, recognizer.labels)
        yield from self._first.stream(partial(jobs.explain_clip, clip=recognizer.read(path), label=label))

    @scheduled
    def timeline_updates(self, path: str) -> Iterator[Playback | tuple[Timeline, bool] | PreviewError]:
        """Yields playback, and the timeline so far with True once it is final; the video is opened once.

        A preview comes after the first timeline, so that a visitor who stops the job has it.
        """
        video = open_video(path)
        timelines = self.iter_timelines(video)
        yield from with_playback(path, video, islice(timelines, 1))
        yield from timelines

    def iter_timelines(self, video: Video) -> Iterator[tuple[Timeline, bool]]:
        """Yields the timeline so far, and True with the last: at the end of the video, or at the deadline."""
        timeline = None
        max_windows = self._settings.max_windows
        job = partial(jobs.follow_video, video=video, max_windows=max_windows)
        size = partial(jobs.num_windows, self._first.local(), video, max_windows)
        try:
            for timeline in self._first.stream(job, size, stop_in_time=True):
                if not timeline.is_complete:
                    yield timeline, False
        except StoppedError:
            if timeline is None:
                raise
        if timeline is not None:
            yield timeline, True

    def compare_runs(
        self, path: str, *, playback: bool = True, owner: object = None
    ) -> Iterator[Playback | tuple[str, Prediction] | PreviewError]:
        """Yields playback if wanted, and each run's name and prediction: a sampler's, or the second model's."""

        def work() -> Iterator[Playback | tuple[str, Prediction] | PreviewError]:
            video = open_video(path)
            runs = self._runs(video)
            yield from with_playback(path, video, runs) if playback else runs

        both = self._second.wait_done if self._second else lambda: None
        return self._schedule("compare_runs", path, work, owner, wait_until_ready=both)

    def _runs(self, video: Video) -> Iterator[tuple[str, Prediction]]:
        samplers = self._samplers()
        clips = [self._first.local().read(video, sampler=sampler) for sampler in samplers]
        predictions = self._first.stream(partial(jobs.predict_clips, clips=clips), lambda: len(clips))
        yield from zip(samplers, predictions, strict=True)
        if self._second:
            second = self._second.local()
            clip = second.read(video)
            yield second.loaded.checkpoint.name, self._second.call(partial(jobs.predict_clips, clips=[clip]))

    @property
    def num_runs(self) -> int:
        return len(self._samplers()) + bool(self._second)

    def _samplers(self) -> list[str]:
        """The paper's three samplers, and the checkpoint's own if it is another."""
        return list(dict.fromkeys((*PAPER_SAMPLERS, self.clip_spec.sampler)))

    def cancel(self, owner: object) -> None:
        """Cancels the current visitor's jobs that this part of the page started."""
        self.scheduler.cancel(owner)

    def describe(self) -> tuple[str, str]:
        """Returns Markdown about the model, its limits and what happens to uploads, and about its labels."""
        try:
            loaded = self._first.local().loaded
        except HmdbError as error:
            return f"**No model could be loaded.** {escape_markup(str(error))}", ""
        checkpoint = loaded.checkpoint
        bundled = checkpoint.name == "bundled"
        name = "the checkpoint that comes with this page" if bundled else f"**{escape_markup(checkpoint.name)}**"
        revision = f" at revision {checkpoint.revision[:12]}" if checkpoint.revision else ""
        notes = "".join(f"\n\n**Note:** {escape_markup(note)}" for note in loaded.notes)
        answers = f"Answers come from {name}{revision}, which knows {len(loaded.labels)} actions."
        privacy = (
            f"Videos may be at most {self._settings.max_upload_mb} MB. They and their answers are deleted after "
            f"{duration(self._settings.keep_seconds)} at the latest, and no other visitor sees them."
        )
        return f"{answers} {privacy}{notes}", ", ".join(escape_markup(action_name(label)) for label in loaded.labels)


def resolve_label(label: object, labels: tuple[str, ...]) -> str:
    """Returns the model's own spelling of a label that may be written in words.

    Raises:
        ModelError: the model has no such label.
    """
    for known in labels:
        if label in (known, label_words(known), action_name(known)):
            return known
    name = one_line(label) if isinstance(label, str) and len(label) <= MAX_LABEL else "The given text"
    raise ModelError(f"{name} is not one of the labels: {', '.join(labels[:3])}, ...")
