"""A taught head: a linear classifier on the views of a clip, with what it needs to answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmdb.clips.clip import ClipSpec
from hmdb.errors import ModelError
from hmdb.teaching.features import ASSEMBLIES, assemble
from hmdb.teaching.rejection import StrangerDetector


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The network below a head.

    Attributes:
        name, revision: of its checkpoint.
        sha256: of its weights without the classifier, and of the preprocessing of pixels; see
            `hmdb.teaching.storage.fingerprint`.
        width: its hidden size C.
    """

    name: str
    revision: str | None
    sha256: str
    width: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TaughtHead:
    """A linear classifier on the features of a frozen network.

    Attributes:
        labels: its K actions.
        assembly: one of `hmdb.teaching.features.ASSEMBLIES`, which makes D features of the views.
        weight, bias: float32 (K, D) and (K,): logits are linear in the features.
        whole_weight, whole_bias: float32 (K, C) and (K,): the same on the whole clip alone, for programs that know
            nothing of views. Equal to `weight` and `bias` if the assembly is "whole".
        temperature: divisor of the logits for probabilities.
        detector: the detector of strangers; None where there were too few clips for one.
        backbone: the network that computes the features.
        clip_spec: frame sampling of its clips.

    Raises:
        ModelError: shapes do not fit each other, or a value is not finite.
    """

    labels: tuple[str, ...]
    assembly: str
    weight: np.ndarray
    bias: np.ndarray
    whole_weight: np.ndarray
    whole_bias: np.ndarray
    temperature: float
    detector: StrangerDetector | None
    backbone: Backbone
    clip_spec: ClipSpec

    def __post_init__(self) -> None:
        if self.assembly not in ASSEMBLIES:
            raise ModelError(f"The features of a taught head must be one of {', '.join(ASSEMBLIES)}.")
        number, width = len(self.labels), self.backbone.width
        wide = width if self.assembly == "whole" else 2 * width
        shapes = {
            "weight": (number, wide),
            "bias": (number,),
            "whole_weight": (number, width),
            "whole_bias": (number,),
        }
        for name, shape in shapes.items():
            check_array(name, getattr(self, name), shape)
        if self.detector is not None:
            check_array("means", self.detector.means, (number, wide))
            check_array("none_weight", self.detector.none_weight, (wide,))

    @property
    def num_views(self) -> int:
        """Passes of the network for one clip: 1, or 3 with its halves."""
        return 1 if self.assembly == "whole" else 3

    def assemble(self, parts: np.ndarray) -> np.ndarray:
        """Features of views, float32 (N, num_views, C) -> input of the head, (N, D)."""
        return parts[:, 0] if self.assembly == "whole" else assemble(parts, self.assembly)

    def logits(self, parts: np.ndarray) -> np.ndarray:
        """Features of views, float32 (N, num_views, C) -> float32 (N, K)."""
        logits: np.ndarray = self.assemble(parts) @ self.weight.T + self.bias
        return logits

    def scores(self, parts: np.ndarray, logits: np.ndarray) -> list[float | None]:
        """In-distribution scores of N clips, below 0 for strangers; None without a detector."""
        if self.detector is None:
            return [None] * len(parts)
        scores: list[float | None] = self.detector.score(self.assemble(parts), logits).tolist()
        return scores


def check_array(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    """
    Raises:
        ModelError: the array has another shape or dtype, or values that are not finite.
    """
    if values.shape != shape or values.dtype != np.float32:
        raise ModelError(f"{name} of a taught head must be float32 {shape}, and is {values.dtype} {values.shape}.")
    if not np.isfinite(values).all():
        raise ModelError(f"{name} of a taught head is damaged: some values are not finite numbers.")
