"""Video file -> Prediction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hmdb.clips.clip import Clip, ClipSpec
from hmdb.clips.reader import read_clip, take_clips
from hmdb.clips.windows import MAX_WINDOWS, boundaries, chunked, windows
from hmdb.errors import ModelError
from hmdb.explain.attribution import class_relevance, rollout, to_heatmap
from hmdb.explain.faithfulness import deletion_insertion_masks, mask_patches
from hmdb.explain.patch_attention import PatchAttention, most_relevant, patch_attention
from hmdb.machine import use_available_cores
from hmdb.model.families import patch_grid, use_recorded_attention
from hmdb.model.loading import LoadedModel, load
from hmdb.model.optimize import optimize_for_inference, precision_of
from hmdb.model.preprocess import normalize, preprocess, resize_and_crop
from hmdb.results import ClipScores, Explanation, Faithfulness, Prediction, Timeline, WindowAnswer
from hmdb.video import Video, VideoLike, open_video

MAPS = ("class", "rollout")
BATCH_WINDOWS = 4  # windows of a long video that are answered together
BATCH_BYTES = 256 * 2**20  # of decoded frames that are held for them, where one window needs no more


class Recognizer:
    """Answers what someone in a video is doing. Safe to share between threads.

    Attributes:
        loaded: the model that answers, with its labels, specs and notes.
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
        """Loads a model; see `hmdb.model.loading.load` for what is taken when none is named.

        Args:
            dtype: "float32", "bfloat16", "int8" or "auto"; see `hmdb.model.optimize.optimize_for_inference`.

        Raises:
            ModelError: the model that was named cannot be loaded, or there is no such dtype there.
        """
        return cls.of(load(model, revision, device), dtype)

    @classmethod
    def of(cls, loaded: LoadedModel, dtype: str = "auto") -> Recognizer:
        """Answers with a model that is loaded, which is optimized for inference in place.

        Raises:
            ModelError: no such dtype where the model is.
        """
        recognizer = cls(loaded)
        optimize_for_inference(loaded.network, dtype, loaded.rounding_costs.get("bfloat16"))
        use_available_cores()
        return recognizer

    @property
    def dtype(self) -> str:
        """The precision in use: "float32", "bfloat16" or "int8"."""
        return precision_of(self.loaded.network)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.loaded.labels

    def __call__(self, path: VideoLike, *, top_k: int = 5, sampler: str | None = None) -> Prediction:
        """The top-k actions in a video.

        Args:
            path: of a video file or a folder of frames, or a `Video` that is open.
            top_k: how many labels to give, at least 1; all where the model has fewer.
            sampler: takes the clip another way than the checkpoint says.

        Raises:
            VideoError: the video cannot be read.
            ModelError: no such sampler, or an answer that is not finite.
            ValueError: top_k below 1.
        """
        _check_positive(top_k=top_k)
        return self.predict(self.read(path, sampler=sampler), top_k=top_k)

    def read(self, path: VideoLike, *, sampler: str | None = None) -> Clip:
        """The clip that the model looks at.

        Raises:
            VideoError: the video cannot be read.
            ModelError: no such sampler.
        """
        return read_clip(path, self.loaded.clip_spec.with_sampler(sampler))

    def predict(self, clip: Clip, *, top_k: int = 5) -> Prediction:
        """The top-k actions in a clip.

        Raises:
            ValueError: top_k below 1.
        """
        _check_positive(top_k=top_k)
        return self._predictions([clip], top_k)[0]

    def probabilities(self, clip: Clip) -> np.ndarray:
        """float32 (number of labels,): the probability of each label, summing to 1."""
        probabilities: np.ndarray = self._forward(self._pixel_values([clip]))[0]
        return probabilities

    def embedding(self, source: VideoLike | Clip, *, sampler: str | None = None) -> np.ndarray:
        """float32 (hidden size,): the pooled features of a clip, as the classifier sees them.

        Args:
            source: a video file, a folder of frames, an open video, or a clip that was read before.
            sampler: as for an answer; that of a clip stays its own.

        Raises:
            VideoError: the video cannot be read.
            ModelError: no such sampler, or an answer that is not finite.
        """
        clip = source if isinstance(source, Clip) else self.read(source, sampler=sampler)
        embedding: np.ndarray = self.outputs(resize_and_crop(clip.pixels, self.loaded.pixel_spec)[None])[1][0]
        return embedding

    def outputs(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the model makes of a batch of clips that are resized already.

        Args:
            pixels: uint8 RGB (B, T, height, width, 3), each clip as `hmdb.model.preprocess.resize_and_crop` gives it.

        Returns:
            Probabilities, float32 (B, number of labels), and embeddings, float32 (B, hidden size).

        Raises:
            ModelError: an answer that is not finite.
        """
        judged = self.judge(pixels)
        return np.stack([each.probabilities for each in judged]), np.stack([each.embedding for each in judged])

    def judge(self, pixels: np.ndarray) -> list[ClipScores]:
        """The same clip by clip, with how familiar each is.

        Args:
            pixels: as for `outputs`.

        Raises:
            ModelError: an answer that is not finite.
        """
        pixel_spec = self.loaded.pixel_spec
        return self._judged(normalize(torch.from_numpy(pixels).to(self.loaded.network.device), pixel_spec))

    def explain(
        self,
        source: VideoLike | Clip | Prediction,
        *,
        label: str | None = None,
        kind: str = "class",
        top_k: int = 5,
        sampler: str | None = None,
    ) -> Explanation:
        """The top-k actions, and which parts of which frames matter.

        Args:
            source: as for an answer, or a clip that was read before, or an answer of this model, which is then not
                computed again.
            label: whose map to make; the answer's, if not given.
            kind: of map: "class", gradient x attention of one label, which costs about three passes beside the
                answer's; or "rollout", attention rollout, which is about no label and costs one, but says less about
                what the answer rests on.
            top_k, sampler: as for an answer without a map; those of a clip or an answer stay their own.

        Raises:
            VideoError: the video cannot be read.
            ModelError: no such sampler or label, a network for which there is no map, or an answer that is not
                finite.
            ValueError: top_k below 1, no such kind, or a label for rollout.
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
        network, pixel_values = self.loaded.network, self._pixel_values([prediction.clip])
        if kind == "rollout":
            _, relevance = rollout(network, pixel_values)
        else:
            label = label or prediction.label
            _, relevance = class_relevance(network, pixel_values, self._index(label))
        heat, importance = to_heatmap(relevance, patch_grid(network.config).frames)
        return Explanation(
            prediction=prediction,
            label=label,
            heat=heat,
            frame_importance=importance,
            region=self.loaded.pixel_spec.region(*prediction.clip.pixels.shape[1:3]),
        )

    def faithfulness(self, explanation: Explanation) -> Faithfulness:
        """What masking patches in the order of an explanation does to the probability of its label (of the
        answer, if it is about none).

        It costs 2 * `hmdb.explain.faithfulness.STEPS` forward passes, a few at a time.
        """
        label = explanation.label or explanation.prediction.label
        index = self._index(label)
        pixel_values = self._pixel_values([explanation.prediction.clip])
        where = patch_grid(self.loaded.network.config)
        relevance = explanation.heat[:: where.frames]
        marked = deletion_insertion_masks(relevance)[:, :-1].reshape(
            -1, *relevance.shape
        )  # the ends of one are the other's
        found = [
            self._forward(mask_patches(pixel_values, marked[start : start + BATCH_WINDOWS], where))[:, index]
            for start in range(0, len(marked), BATCH_WINDOWS)
        ]
        deleted, inserted = np.concatenate(found).reshape(2, -1)
        return Faithfulness(
            label=label,
            shares=tuple(np.linspace(0, 1, len(deleted) + 1).tolist()),
            deleted=(*deleted.tolist(), float(inserted[0])),
            inserted=(*inserted.tolist(), float(deleted[0])),
        )

    def patch_attention(self, explanation: Explanation, *, block: int | None = None) -> PatchAttention:
        """What the most relevant patch of a map attends to in one block, over time and over its own frame.

        Args:
            block: which, from 0; the last but one, if not given.

        Raises:
            ModelError: a network for which there is no map.
            ValueError: no such block.
        """
        heat = explanation.heat[:: patch_grid(self.loaded.network.config).frames]
        pixel_values = self._pixel_values([explanation.prediction.clip])
        return patch_attention(self.loaded.network, pixel_values, most_relevant(heat), block=block)

    def seen(self, clip: Clip) -> np.ndarray:
        """The frames of a clip as the network sees them, resized and cropped: uint8 RGB (T, height, width, 3)."""
        return resize_and_crop(clip.pixels, self.loaded.pixel_spec)

    def follow(
        self, path: VideoLike, *, sampler: str | None = None, max_windows: int = MAX_WINDOWS
    ) -> Generator[Timeline]:
        """What happens when in a long video: the timeline so far, after each few windows.

        Closing the iterator ends the work. Memory does not grow with the length of the video.

        Args:
            path: as for an answer.
            sampler: takes the clips another way than the checkpoint says.
            max_windows: how many windows to look at, at least 1, and so how long it may take.

        Raises:
            VideoError: the video cannot be read.
            ModelError: no such sampler, or an answer that is not finite.
            ValueError: max_windows below 1.
        """
        _check_positive(max_windows=max_windows)
        spec = self.loaded.clip_spec.with_sampler(sampler)
        video = open_video(path)
        yield from video.counted_each(lambda num_frames: self._follow(video, num_frames, spec, max_windows))

    def _follow(self, video: Video, num_frames: int, spec: ClipSpec, max_windows: int) -> Generator[Timeline]:
        all_windows = windows(num_frames, spec, max_windows=max_windows)
        answers: list[WindowAnswer] = []
        for batch in chunked(all_windows, _windows_at_once(video, spec)):
            found = self._predictions(list(take_clips(video, spec, batch)), top_k=1)
            answers.extend(
                WindowAnswer(
                    frames=window,
                    label=prediction.label if prediction.is_known else None,
                    probability=prediction.probability,
                )
                for window, prediction in zip(batch, found, strict=True)
            )
            yield Timeline(
                answers=tuple(answers),
                num_windows=len(all_windows),
                num_frames=num_frames,
                fps=video.fps,
                model=self.loaded.checkpoint.name,
                revision=self.loaded.checkpoint.revision,
                spec=spec,
                seconds=video.seconds_at(boundaries(all_windows[: len(answers)])),
            )

    def timeline(
        self,
        path: VideoLike,
        *,
        sampler: str | None = None,
        max_windows: int = MAX_WINDOWS,
        progress: Callable[[int, int], None] | None = None,
    ) -> Timeline:
        """What happens when in a long video, once all of it has been looked at.

        Args:
            path, sampler, max_windows: as for `follow`.
            progress: called after each few windows with how many are done and how many there are; what it
                raises ends the work.
        """
        for timeline in self.follow(path, sampler=sampler, max_windows=max_windows):
            if progress is not None:
                progress(len(timeline.answers), timeline.num_windows)
        return timeline

    def _index(self, label: str) -> int:
        try:
            return self.labels.index(label)
        except ValueError as error:
            raise ModelError(f"{label} is not one of the labels of {self.loaded.checkpoint.name}.") from error

    def _pixel_values(self, clips: Sequence[Clip]) -> torch.Tensor:
        """(B, T, 3, H, W), on the network's device."""
        values = torch.stack([preprocess(clip.pixels, self.loaded.pixel_spec) for clip in clips])
        return values.to(self.loaded.network.device)

    def _forward(self, pixel_values: torch.Tensor) -> np.ndarray:
        """(B, T, 3, H, W) -> float32 (B, number of labels): probabilities."""
        with torch.inference_mode():
            logits = self.loaded.network(pixel_values=pixel_values).logits
        return self._calibrated(logits)

    def _pass(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
        """(B, T, 3, H, W) -> logits (B, number of labels), and what the classifier reads, float32 (B, hidden size)."""
        network: Any = self.loaded.network
        pooled: list[torch.Tensor] = []
        thread = threading.get_ident()

        def keep(_: object, inputs: tuple[torch.Tensor]) -> None:
            if threading.get_ident() == thread:
                pooled.append(inputs[0])

        handle = network.classifier.register_forward_pre_hook(keep)
        try:
            with torch.inference_mode():
                logits: torch.Tensor = network(pixel_values=pixel_values).logits
        finally:
            handle.remove()
        return logits, pooled[0].float().cpu().numpy()

    def _calibrated(self, logits: torch.Tensor) -> np.ndarray:
        values = logits.float().cpu().numpy()
        if not np.isfinite(values).all():
            raise ModelError(f"{self.loaded.checkpoint.name} gives no finite answer; its weights are damaged.")
        return self.loaded.calibration.probabilities(values)

    def _judged(self, pixel_values: torch.Tensor) -> list[ClipScores]:
        """(B, T, 3, H, W) -> what the model makes of each clip."""
        logits, features = self._pass(pixel_values)
        probabilities = self._calibrated(logits)
        familiarity: Sequence[float | None] = [None] * len(features)
        if self.loaded.known:
            familiarity = self.loaded.known.familiarity(features, logits.float().cpu().numpy()).tolist()
        return [
            ClipScores(probabilities=each, embedding=embedding, familiarity=familiar)
            for each, embedding, familiar in zip(probabilities, features, familiarity, strict=True)
        ]

    def _predictions(self, clips: Sequence[Clip], top_k: int) -> list[Prediction]:
        """The answers for clips, in one batch."""
        judged = self._judged(self._pixel_values(clips))
        return [self._prediction(clip, each, top_k) for clip, each in zip(clips, judged, strict=True)]

    def _prediction(self, clip: Clip, judged: ClipScores, top_k: int) -> Prediction:
        best = np.argsort(-judged.probabilities, kind="stable")[:top_k]
        return Prediction(
            labels=tuple(self.labels[index] for index in best),
            probabilities=tuple(float(judged.probabilities[index]) for index in best),
            clip=clip,
            model=self.loaded.checkpoint.name,
            revision=self.loaded.checkpoint.revision,
            threshold=self.loaded.calibration.threshold,
            familiarity=judged.familiarity,
        )


def _check_positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}")


def _windows_at_once(video: Video, spec: ClipSpec) -> int:
    width, height = video.size
    return min(max(BATCH_BYTES // (spec.num_frames * width * height * 3), 1), BATCH_WINDOWS)
