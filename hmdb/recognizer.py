"""Video recognition: predictions, embeddings, explanations and timelines of video files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import torch

from hmdb.clips.clip import Clip
from hmdb.clips.reader import read_clip
from hmdb.clips.windows import MAX_WINDOWS
from hmdb.errors import ModelError
from hmdb.explain.attribution import label_relevance, rollout, to_heatmap
from hmdb.explain.faithfulness import deletion_insertion
from hmdb.explain.patch_attention import PatchAttention, most_relevant, patch_attention
from hmdb.long_video import iter_timeline
from hmdb.machine import use_available_cores
from hmdb.model.families import family_of, patch_grid, use_recorded_attention
from hmdb.model.loading import LoadedModel, load, with_head
from hmdb.model.optimize import optimize_for_inference, precision_of
from hmdb.model.preprocess import normalize, resize_and_crop
from hmdb.model.scoring import forward, score, to_batch, view_features
from hmdb.results import ClipScores, Explanation, Faithfulness, Prediction, Timeline
from hmdb.teaching.features import ClipFeatures, check_label
from hmdb.teaching.fitting import Taught, fit
from hmdb.teaching.head import TaughtHead
from hmdb.text import display_name
from hmdb.video import VideoLike, open_video

MAPS = ("class", "rollout")


class Recognizer:
    """Recognizes human actions in videos. Thread-safe.

    >>> from hmdb import Recognizer
    >>> recognizer = Recognizer.from_pretrained(dtype="float32")
    >>> prediction = recognizer("examples/handstand.mp4", top_k=3)
    >>> prediction.label, f"{prediction.probability:.2f}", prediction.is_known
    ('handstand', '0.97', True)
    >>> explanation = recognizer.explain(prediction)
    >>> explanation.heat.shape  # frames, rows and columns of patches
    (8, 8, 8)
    >>> recognizer.faithfulness(explanation).above_chance
    True

    Attributes:
        loaded: the model, with its labels, specs and notes.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        use_recorded_attention(loaded.network)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | None = None,
        revision: str | None = None,
        device: str | None = None,
        *,
        dtype: str = "auto",
    ) -> Recognizer:
        """Loads a model and optimizes it for inference.

        Args:
            model, revision, device: as for `hmdb.model.loading.load`, which also says what the default is.
            dtype: "float32", "bfloat16", "int8" or "auto"; see `hmdb.model.optimize.optimize_for_inference`.

        Raises:
            ModelError: the model cannot be loaded, or the device does not support the dtype.
        """
        return cls.from_loaded(load(model, revision, device), dtype)

    @classmethod
    def from_loaded(cls, loaded: LoadedModel, dtype: str = "auto") -> Recognizer:
        """Wraps a loaded model, whose network is optimized for inference in place.

        Raises:
            ModelError: the model's device does not support the dtype.
        """
        recognizer = cls(loaded)
        optimize_for_inference(loaded.network, dtype, loaded.precision_costs.get("bfloat16"))
        use_available_cores()
        return recognizer

    @property
    def dtype(self) -> str:
        """The precision in use: "float32", "bfloat16" or "int8"."""
        return precision_of(self.loaded.network)

    @property
    def sees_order(self) -> bool:
        """True if the network embeds the positions of frames in time; else their order does not change the answer."""
        return family_of(self.loaded.network.config).sees_order(self.loaded.network)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.loaded.labels

    def __call__(self, path: VideoLike, *, top_k: int = 5, sampler: str | None = None) -> Prediction:
        """Classifies a video.

        Args:
            path: a video file, a folder of frames, or an open `Video`.
            top_k: number of labels to return, at least 1; all if the model has fewer.
            sampler: overrides the frame sampler of the checkpoint.

        Raises:
            VideoError: the video cannot be read.
            ModelError: the sampler is unknown, or a logit is not finite.
            ValueError: top_k is below 1.
        """
        _check_positive(top_k=top_k)
        return self.predict(self.read(path, sampler=sampler), top_k=top_k)

    def read(self, path: VideoLike, *, sampler: str | None = None) -> Clip:
        """Samples and decodes the clip that the model looks at.

        Raises:
            VideoError: the video cannot be read.
            ModelError: the sampler is unknown.
        """
        return read_clip(path, self.loaded.clip_spec.with_sampler(sampler))

    def predict(self, clip: Clip, *, top_k: int = 5) -> Prediction:
        """Classifies a clip.

        Raises:
            ModelError: a logit is not finite.
            ValueError: top_k is below 1.
        """
        _check_positive(top_k=top_k)
        (scores,) = score(self.loaded, to_batch(self.loaded, [clip]))
        labels, probabilities = zip(*scores.top(top_k), strict=True)
        return Prediction(
            labels=labels,
            probabilities=probabilities,
            clip=clip,
            model=self.loaded.checkpoint.name,
            revision=self.loaded.checkpoint.revision,
            threshold=scores.threshold,
            in_distribution_score=scores.in_distribution_score,
        )

    def probabilities(self, clip: Clip) -> np.ndarray:
        """float32 (number of labels,): the probability of each label, summing to 1."""
        probabilities: np.ndarray = forward(self.loaded, to_batch(self.loaded, [clip]))[0]
        return probabilities

    def embedding(self, source: VideoLike | Clip, *, sampler: str | None = None) -> np.ndarray:
        """float32 (hidden size,): the pooled features of a clip that the classifier reads.

        Args:
            source: a video file, a folder of frames, an open video or a clip.
            sampler: as for `__call__`; ignored for a clip, which is sampled already.

        Raises:
            VideoError: the video cannot be read.
            ModelError: the sampler is unknown, or a logit is not finite.
        """
        clip = source if isinstance(source, Clip) else self.read(source, sampler=sampler)
        return self.score_clips(self.model_input(clip)[None])[0].embedding

    def model_input(self, clip: Clip) -> np.ndarray:
        """The frames of a clip, resized and cropped for the network: uint8 RGB (T, height, width, 3)."""
        return resize_and_crop(clip.pixels, self.loaded.pixel_spec)

    def score_clips(self, pixels: np.ndarray) -> list[ClipScores]:
        """Scores a batch of clips that are resized already.

        Args:
            pixels: uint8 RGB (B, T, height, width, 3), each clip as `model_input` returns it.

        Raises:
            ModelError: a logit is not finite.
        """
        values = torch.from_numpy(pixels).to(self.loaded.network.device)
        return score(self.loaded, normalize(values, self.loaded.pixel_spec))

    def clip_features(
        self, source: VideoLike | Clip, label: str, *, group: str | None = None, mirror: bool = False
    ) -> ClipFeatures:
        """Computes the features of a labelled clip, to teach with.

        Args:
            source: as for `embedding`.
            label: its action, or "none" for a negative: a clip of nothing in particular.
            group: the person, recording or take that it shares with other clips.
            mirror: compute the features of its mirror image too, which doubles the time.

        Raises:
            VideoError: the video cannot be read.
            ModelError: a logit is not finite.
            DataError: the label is empty, too long or has control characters.
        """
        check_label(label)
        pixels = to_batch(self.loaded, [source if isinstance(source, Clip) else self.read(source)])
        name = display_name(Path(source)) if isinstance(source, str | Path) else "a clip"
        (parts,) = view_features(self.loaded, pixels)
        mirrored = view_features(self.loaded, pixels.flip(-1))[0] if mirror else None
        return ClipFeatures(label=label, parts=parts, mirrored=mirrored, source=name, group=group)

    def teach(self, clips: Sequence[ClipFeatures]) -> Taught:
        """Fits a head to clips of at least two actions, from `clip_features`; `Taught.clips` to add or remove some.

        Raises:
            DataError: one action is alone, a name or a clip is there twice, or features are of another network.
        """
        return fit(clips, self.loaded.backbone, self.loaded.clip_spec)

    def with_head(self, head: TaughtHead) -> Recognizer:
        """A recognizer of taught actions, which shares this one's network.

        Args:
            head: from `teach`, or from `hmdb.teaching.storage.read_zip`.

        Raises:
            ModelError: the head was taught on another network.
        """
        return Recognizer(with_head(self.loaded, head))

    def explain(
        self,
        source: VideoLike | Clip | Prediction,
        *,
        label: str | None = None,
        kind: str = "class",
        top_k: int = 5,
        sampler: str | None = None,
    ) -> Explanation:
        """Classifies a video and computes an attribution map over its frames.

        Args:
            source: a video as for `__call__`, a clip, or a prediction of this model, which is not computed again.
            label: the label that the map explains; the predicted one by default.
            kind: "class", gradient x attention of one label, at the cost of about three forward passes; or "rollout",
                attention rollout, which depends on no label and costs one pass, but is less faithful.
            top_k, sampler: as for `__call__`; ignored for a prediction, and `sampler` for a clip.

        Raises:
            VideoError: the video cannot be read.
            ModelError: the sampler or label is unknown, the network has no map over the clip, or a logit is not
                finite.
            ValueError: top_k is below 1, the kind is unknown, or rollout is given a label.
        """
        _check_positive(top_k=top_k)
        if kind not in MAPS or (kind == "rollout" and label is not None):
            wrong = f"{kind} with the label {label}" if label else kind
            raise ValueError(f"kind must be one of {', '.join(MAPS)}, and rollout takes no label: {wrong}")
        if isinstance(source, Prediction):
            prediction = source
        else:
            clip = source if isinstance(source, Clip) else self.read(source, sampler=sampler)
            prediction = self.predict(clip, top_k=top_k)
        pixel_values = to_batch(self.loaded, [prediction.clip])
        if kind == "rollout":
            _, relevance = rollout(self.loaded.network, pixel_values)
        else:
            label = label or prediction.label
            relevance = label_relevance(self.loaded, pixel_values, self._index(label))
        heat, importance = to_heatmap(relevance, patch_grid(self.loaded.network.config).frames)
        return Explanation(
            prediction=prediction,
            label=label,
            heat=heat,
            frame_importance=importance,
            region=self.loaded.pixel_spec.region(*prediction.clip.pixels.shape[1:3]),
        )

    def faithfulness(self, explanation: Explanation) -> Faithfulness:
        """Computes the deletion and insertion curves of an attribution map for its label; for the predicted label if
        the map is attention rollout.

        It costs 2 * `hmdb.explain.faithfulness.STEPS` forward passes.
        """
        label = explanation.label or explanation.prediction.label
        return deletion_insertion(self.loaded, explanation, label, self._index(label))

    def patch_attention(self, explanation: Explanation, *, block: int | None = None) -> PatchAttention:
        """Computes the attention of the most relevant patch of a map in one block, over time and within its frame.

        Args:
            block: index of the block, from 0; the second to last by default.

        Raises:
            ModelError: the network has no map over the clip.
            ValueError: there is no such block.
        """
        heat = explanation.heat[:: patch_grid(self.loaded.network.config).frames]
        pixel_values = to_batch(self.loaded, [explanation.prediction.clip])
        return patch_attention(self.loaded.network, pixel_values, most_relevant(heat), block=block)

    def iter_timeline(
        self, path: VideoLike, *, sampler: str | None = None, max_windows: int = MAX_WINDOWS
    ) -> Generator[Timeline]:
        """Yields the timeline of a long video as it grows, after each batch of windows.

        Closing the generator stops the work. Memory use does not depend on the length of the video.

        Args:
            path, sampler: as for `__call__`.
            max_windows: limit on the number of windows, at least 1, and so on the time it takes.

        Raises:
            VideoError: the video cannot be read.
            ModelError: the sampler is unknown, or a logit is not finite.
            ValueError: max_windows is below 1.
        """
        _check_positive(max_windows=max_windows)
        spec = self.loaded.clip_spec.with_sampler(sampler)
        video = open_video(path)
        yield from video.iterate_with_recount(
            lambda num_frames: iter_timeline(self.loaded, video, num_frames, spec, max_windows)
        )

    def timeline(
        self,
        path: VideoLike,
        *,
        sampler: str | None = None,
        max_windows: int = MAX_WINDOWS,
        progress: Callable[[int, int], None] | None = None,
    ) -> Timeline:
        """Computes the complete timeline of a long video.

        Args:
            path, sampler, max_windows: as for `iter_timeline`, as are the errors.
            progress: called after each batch with the number of windows done and in all; an exception it raises
                stops the work.
        """
        for timeline in self.iter_timeline(path, sampler=sampler, max_windows=max_windows):
            if progress is not None:
                progress(len(timeline.answers), timeline.num_windows)
        return timeline

    def _index(self, label: str) -> int:
        try:
            return self.labels.index(label)
        except ValueError as error:
            raise ModelError(f"{label} is not one of the labels of {self.loaded.checkpoint.name}.") from error


def _check_positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}")
