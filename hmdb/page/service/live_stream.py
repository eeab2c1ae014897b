"""The memory of one live camera: recent pictures, and smoothed predictions.

Nothing is written to disk: pictures arrive and leave within messages, and only a `LiveSession` keeps them.
"""

from __future__ import annotations

import base64
import io
import math
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from hmdb.clips.clip import Clip, ClipFrame, ClipSpec, pixels_move
from hmdb.clips.sampling import evenly_spaced
from hmdb.errors import VideoError
from hmdb.results import Prediction
from hmdb.text import action_name

CLIP_SECONDS = 2.5  # length of the clip
MIN_CLIP_PICTURES = 4  # a slow camera's clip is longer, to have this many pictures
MAX_CLIP_SECONDS = 10.0
SMOOTHING_SECONDS = 0.7  # after which a prediction's weight has fallen to 1/e
HEADLINE_LEAD = 0.1  # smoothed probability by which another action must lead to replace the headline
MIN_KNOWN_SHARE = 0.5  # smoothed share of predictions that must be known actions

KEPT_SIDE = 320  # pixels, the longest side of a kept picture
MAX_ASPECT = 8  # the longer side of a picture over the shorter
MAX_PIXELS = 2 * 2**20
NO_PICTURE = "This is not a picture from a camera."
TOO_LARGE = "The pictures from this camera are too large."


@dataclass
class LiveSession:
    """Recent pictures of one visitor's camera, and the predictions made from them.

    Attributes:
        pictures: the time of each in seconds, and its pixels, uint8 RGB (H, W, 3).
        smoothed: the smoothed probability of each label.
        known_share: the smoothed share of predictions that are known actions.
        label: the headline.
        predicted: the time of the last prediction, in seconds.
    """

    pictures: deque[tuple[float, np.ndarray]] = field(default_factory=deque)
    smoothed: dict[str, float] = field(default_factory=dict)
    known_share: float = 0.0
    label: str = ""
    predicted: float = -math.inf

    def add_frame(self, pixels: np.ndarray, now: float) -> None:
        """Keeps a picture and drops those that are too old."""
        if self.pictures and self.pictures[-1][1].shape != pixels.shape:
            self.pictures.clear()  # another camera, or the phone was turned
        self.pictures.append((now, pixels))
        while now - self.pictures[0][0] > self._max_age:
            self.pictures.popleft()

    @property
    def _max_age(self) -> float:
        return CLIP_SECONDS if len(self.pictures) > MIN_CLIP_PICTURES else MAX_CLIP_SECONDS

    @property
    def moves(self) -> bool:
        """True if anything moves between the pictures, by the same rule as in a video."""
        return pixels_move(np.stack([pixels for _, pixels in self.pictures]))

    @property
    def is_known(self) -> bool:
        """True if something moves and most of the recent predictions are known actions."""
        return self.moves and self.known_share >= MIN_KNOWN_SHARE

    def clip(self, spec: ClipSpec) -> Clip:
        """The model's frames, evenly spaced over the pictures; the newest is one of them."""
        count = len(self.pictures)
        chosen = [self.pictures[count - 1 - back] for back in reversed(evenly_spaced(count, spec.num_frames))]
        moments = [moment - self.pictures[0][0] for moment, _ in chosen]
        return Clip(
            pixels=np.stack([pixels for _, pixels in chosen]),
            frames=tuple(ClipFrame(sources=(i,), seconds=each, kind="real") for i, each in enumerate(moments)),
            spec=replace(spec, sampler="equidistant"),
            decoder="camera",
        )

    def add_prediction(self, prediction: Prediction, now: float) -> None:
        """Smooths the prediction of all labels exponentially over time, so that the headline does not flicker."""
        old = math.exp((self.predicted - now) / SMOOTHING_SECONDS)
        new = zip(prediction.labels, prediction.probabilities, strict=True)
        self.smoothed = {label: old * self.smoothed.get(label, 0) + (1 - old) * share for label, share in new}
        self.known_share = old * self.known_share + (1 - old) * prediction.is_known
        self.predicted = now
        best = max(self.smoothed, key=self.smoothed.__getitem__)
        if not self.label or self.smoothed[best] >= self.smoothed[self.label] + HEADLINE_LEAD:
            self.label = best

    @property
    def top_five(self) -> dict[str, float]:
        """The five likeliest labels, in words, with their smoothed probabilities."""
        likeliest = sorted(self.smoothed.items(), key=lambda item: -item[1])[:5]
        return {action_name(label): share for label, share in likeliest}


def decode_jpeg(url: str) -> np.ndarray:
    """Decodes a picture from the data URL of a camera stream: uint8 RGB, at most KEPT_SIDE on its longer side.

    Raises:
        VideoError: it is no JPEG, or too large.
    """
    head, _, data = url.partition(",")
    if not head.startswith("data:image/jpeg;base64"):
        raise VideoError(NO_PICTURE)
    try:
        with Image.open(io.BytesIO(base64.b64decode(data)), formats=["JPEG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS or max(picture.size) > MAX_ASPECT * min(picture.size):
                raise VideoError(TOO_LARGE)
            picture.draft("RGB", (KEPT_SIDE, KEPT_SIDE))
            small = picture.convert("RGB")
    except Image.DecompressionBombError as error:  # Pillow's own limit comes first
        raise VideoError(TOO_LARGE) from error
    except (OSError, ValueError) as error:
        raise VideoError(NO_PICTURE) from error
    small.thumbnail((KEPT_SIDE, KEPT_SIDE))
    return np.asarray(small)
