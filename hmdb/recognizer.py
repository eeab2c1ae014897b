"""Video file -> Prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hmdb.clip import Clip, Prediction
from hmdb.model import LoadedModel, load
from hmdb.preprocess import preprocess
from hmdb.reader import read_clip


class Recognizer:
    """Answers what someone in a video is doing. Safe to share between threads.

    Attributes:
        loaded: the model that answers, with its labels, specs and notes.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded

    @classmethod
    def from_pretrained(
        cls, model: str | Path | None = None, revision: str | None = None, device: str | None = None
    ) -> Recognizer:
        """Loads a model; see `hmdb.model.load` for what is taken when none is named.

        Raises:
            ModelError: the model that was named cannot be loaded.
        """
        return cls(load(model, revision, device))

    @property
    def labels(self) -> tuple[str, ...]:
        return self.loaded.labels

    def __call__(self, path: str | Path, *, top_k: int = 5, sampler: str | None = None) -> Prediction:
        """The top-k actions in a video file or a folder of frames.

        Args:
            path: of the video.
            top_k: how many labels to give, at least 1; all where the model has fewer.
            sampler: takes the clip another way than the checkpoint says.

        Raises:
            VideoError: the video cannot be read.
            ModelError: no such sampler.
        """
        clip = read_clip(path, self.loaded.clip_spec.with_sampler(sampler))
        return self.predict(clip, top_k=top_k)

    def predict(self, clip: Clip, *, top_k: int = 5) -> Prediction:
        """The top-k actions in a clip."""
        probabilities = self.probabilities(clip)
        best = np.argsort(-probabilities, kind="stable")[: max(top_k, 1)]
        return Prediction(
            labels=tuple(self.labels[index] for index in best),
            probabilities=tuple(float(probabilities[index]) for index in best),
            clip=clip,
            model=self.loaded.checkpoint.name,
            revision=self.loaded.checkpoint.revision,
        )

    @torch.inference_mode()
    def probabilities(self, clip: Clip) -> np.ndarray:
        """float32 (number of labels,): the probability of each label, summing to 1."""
        network = self.loaded.network
        pixel_values = preprocess(clip.pixels, self.loaded.pixel_spec)[None]  # (1, T, 3, H, W)
        logits = network(pixel_values=pixel_values.to(network.device)).logits
        probabilities: np.ndarray = logits.float().softmax(dim=-1)[0].cpu().numpy()
        return probabilities
