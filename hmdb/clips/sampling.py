"""Samples the frames of a clip: pure index arithmetic on the number of frames in a video.

A clip is a list of *virtual frames*. Each is a small expression over source frames: a source, the mean of two virtual
frames, a gain on one. Extending a video to 256 frames and sampling eight of them only builds such expressions, so it
costs nothing, and only the sources of the eight are decoded.

    >>> [frame.sources for frame in sample(90, ClipSpec())]  # 90 -> 179 -> 357 -> cut to 256
    [(0,), (16,), (32,), (48,), (64,), (80,), (82,), (66,)]

Source: the paper, section 3 and table 5; what it leaves open follows its public code.
"""

from __future__ import annotations

import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hmdb.clips.clip import ClipSpec
from hmdb.errors import VideoError

GAINS = (0.6, 0.8, 1.2, 1.4)
MAX_ROUNDS = 5


class VirtualFrame(ABC):
    """A frame of a clip, as an expression over source frames."""

    __slots__ = ()

    @property
    @abstractmethod
    def weights(self) -> dict[int, float]:
        """Source frame -> its share of the pixels, before gains; the shares sum to 1."""

    @property
    @abstractmethod
    def operations(self) -> frozenset[str]:
        """The operations on the sources: "interpolated", "reversed", "brightened" or none."""

    @property
    def sources(self) -> tuple[int, ...]:
        """The source frames that it is made of, in ascending order."""
        return tuple(sorted(self.weights))

    @property
    def kind(self) -> str:
        """The operations joined by " + ": "real", "reversed", "interpolated + brightened", ..."""
        known = ("interpolated", "reversed", "brightened")
        return " + ".join(each for each in known if each in self.operations) or "real"


@dataclass(frozen=True, slots=True)
class Source(VirtualFrame):
    """A frame of the video, by its 0-based index."""

    index: int

    @property
    def weights(self) -> dict[int, float]:
        return {self.index: 1.0}

    @property
    def operations(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True, slots=True)
class Mean(VirtualFrame):
    """The pixel mean of two neighbours."""

    first: VirtualFrame
    second: VirtualFrame

    @property
    def weights(self) -> dict[int, float]:
        total: dict[int, float] = {}
        for part in (self.first, self.second):
            for index, weight in part.weights.items():
                total[index] = total.get(index, 0.0) + weight / 2
        return total

    @property
    def operations(self) -> frozenset[str]:
        return self.first.operations | self.second.operations | {"interpolated"}


@dataclass(frozen=True, slots=True)
class _Altered(VirtualFrame):
    """Another virtual frame after one more operation."""

    operation: ClassVar[str]
    frame: VirtualFrame

    @property
    def weights(self) -> dict[int, float]:
        return self.frame.weights

    @property
    def operations(self) -> frozenset[str]:
        return self.frame.operations | {self.operation}


@dataclass(frozen=True, slots=True)
class Gain(_Altered):
    """A darkened or brightened frame: its pixels times `factor`, clipped to 0..255."""

    operation: ClassVar[str] = "brightened"
    factor: float


@dataclass(frozen=True, slots=True)
class Reversed(_Altered):
    """A frame on the way back of a ping-pong: the same pixels, in reversed time."""

    operation: ClassVar[str] = "reversed"


def interpolate(frames: Sequence[VirtualFrame]) -> list[VirtualFrame]:
    """Inserts the mean between neighbours: n -> 2n - 1."""
    between = [Mean(first, second) for first, second in itertools.pairwise(frames)]
    return [frame for pair in zip(frames, between, strict=False) for frame in pair] + list(frames[-1:])


def ping_pong(frames: Sequence[VirtualFrame]) -> list[VirtualFrame]:
    """Appends the list in reverse, without its last frame: n -> 2n - 1."""
    return [*frames, *(Reversed(frame) for frame in frames[-2::-1])]


def brighten(frames: Sequence[VirtualFrame]) -> list[VirtualFrame]:
    """Appends the list with each of GAINS: n -> 5n."""
    return [*frames, *(Gain(frame, gain) for gain in GAINS for frame in frames)]


def extend(frames: Sequence[VirtualFrame], num_frames: int) -> list[VirtualFrame]:
    """Lengthens a list to `num_frames`: interpolates, ping-pongs, brightens, and again, until it is long enough.

    12 frames -> 23 (interpolated) -> 45 (ping-pong) -> 225 (brightened) -> 449, cut to 256.
    A list that is long enough is returned whole.
    """
    result = list(frames)
    if len(result) >= num_frames:
        return result
    for operation in (interpolate, ping_pong, brighten) * MAX_ROUNDS:
        result = operation(result)
        if len(result) >= num_frames:
            break
    return result[:num_frames]


def repeat(frames: Sequence[VirtualFrame], num_frames: int) -> list[VirtualFrame]:
    """Lengthens a sampled list to `num_frames`: interpolates once, then appends its reverse until there are enough
    (table 5, "after sampling"). The frame at which it turns is shown twice.

    3 frames a b c -> a ab b bc c | c bc b | ...
    """
    result = list(frames)
    if len(result) < num_frames:
        result = interpolate(result)
    while len(result) < num_frames:
        result += [Reversed(frame) for frame in reversed(result)]
    return result[:num_frames]


def evenly_spaced(num_source_frames: int, num_frames: int) -> list[int]:
    """Returns `num_frames` indices over the whole video, int(i * n / num_frames); they repeat where n is smaller.

    >>> evenly_spaced(20, 8)
    [0, 2, 5, 7, 10, 12, 15, 17]
    """
    return [i * num_source_frames // num_frames for i in range(num_frames)]


def sample(num_source_frames: int, spec: ClipSpec, rng: random.Random | None = None) -> tuple[VirtualFrame, ...]:
    """Samples the virtual frames of a clip from a video with `num_source_frames` frames.

    - "uniform": every `stride`-th frame, the first `num_frames` of them. A video of fewer than
      num_frames * stride frames is extended first ("before"), or the few frames that were sampled
      are ("after").
    - "equidistant": index int(i * n / num_frames); i mod n where n <= num_frames.
    - "random": drawn without replacement and shown in the order drawn; with replacement where
      n < num_frames. `rng` draws; without one the draw depends on n alone, so it can be repeated.
    - "centered": num_frames * stride consecutive frames in the middle, every `stride`-th of them;
      int(i * n / num_frames) where the video is shorter than that.

    Raises:
        VideoError: the video has no frames.
    """
    n, wanted = num_source_frames, spec.num_frames
    if n < 1:
        raise VideoError("The video has no frames.")
    return tuple(_SAMPLERS[spec.sampler](n, wanted, spec, rng))


def _uniform(n: int, wanted: int, spec: ClipSpec, rng: random.Random | None) -> Sequence[VirtualFrame]:
    if spec.extension == "after":
        return repeat([Source(index) for index in range(0, n, spec.stride)][:wanted], wanted)
    enough = spec.min_source_frames
    return extend([Source(index) for index in range(min(n, enough))], enough)[:: spec.stride]


def _equidistant(n: int, wanted: int, spec: ClipSpec, rng: random.Random | None) -> Iterator[VirtualFrame]:
    indices = evenly_spaced(n, wanted) if n > wanted else [i % n for i in range(wanted)]
    return map(Source, indices)


def _random(n: int, wanted: int, spec: ClipSpec, rng: random.Random | None) -> Iterator[VirtualFrame]:
    rng = rng or random.Random(n)
    indices = rng.sample(range(n), wanted) if n >= wanted else rng.choices(range(n), k=wanted)
    return map(Source, indices)


def _centered(n: int, wanted: int, spec: ClipSpec, rng: random.Random | None) -> Iterator[VirtualFrame]:
    window = spec.min_source_frames
    first = (n - window) // 2
    return map(Source, range(first, first + window, spec.stride) if n >= window else evenly_spaced(n, wanted))


_SAMPLERS = {"uniform": _uniform, "equidistant": _equidistant, "random": _random, "centered": _centered}
