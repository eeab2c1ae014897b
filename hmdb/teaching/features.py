"""Features of labelled clips.

A network is run on three views of a clip: all its frames, the first half, and the second half, each frame of a half
shown twice. The views are an input of three parts for the head, and their difference has the direction of time even for
a network that is blind to the order of its frames. N is the number of clips, C the hidden size of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmdb.errors import DataError
from hmdb.text import is_plain, one_line

NONE = "none"  # the label of negatives: clips of nothing in particular, which are no action
VIEWS = ("whole", "early", "late")
ASSEMBLIES = ("whole", "halves", "spread")
MAX_LABEL = 200  # characters, as for all checkpoints


@dataclass(frozen=True, kw_only=True, eq=False)
class ClipFeatures:
    """The features of one labelled clip.

    Attributes:
        label: its action, or `NONE`.
        parts: float32 (3, C): pooled features of each of `VIEWS`.
        mirrored: the same of the clip mirrored left to right; None if it was not computed.
        source: name of the clip, for messages.
        group: the person, recording or take that it shares with other clips; None if it shares none.

    Raises:
        DataError: the label is empty, too long or has control characters, or the features are not finite.
    """

    label: str
    parts: np.ndarray
    mirrored: np.ndarray | None = None
    source: str = "a clip"
    group: str | None = None

    def __post_init__(self) -> None:
        check_label(self.label)
        for values in (self.parts, *([] if self.mirrored is None else [self.mirrored])):
            if values.ndim != 2 or values.shape != (len(VIEWS), self.parts.shape[1]):
                raise DataError(f"The features of {one_line(self.source)} must be (3, C), not {values.shape}.")
            if not np.isfinite(values).all():
                raise DataError(f"The features of {one_line(self.source)} are not finite numbers.")


def check_label(label: str) -> None:
    """
    Raises:
        DataError: the label is empty, too long or has control characters.
    """
    if not label.strip() or len(label) > MAX_LABEL or not is_plain(label):
        raise DataError(
            f"The name of an action must be 1 to {MAX_LABEL} characters without control characters, not {label!r}."
        )


def view_frames(num_frames: int) -> np.ndarray:
    """The frames that each of `VIEWS` shows: int (3, num_frames).

    >>> view_frames(4).tolist()
    [[0, 1, 2, 3], [0, 0, 1, 1], [2, 2, 3, 3]]
    """
    half = (num_frames + 1) // 2
    early = np.arange(num_frames) * half // num_frames
    return np.stack([np.arange(num_frames), early, early + num_frames - half])


def assemble(parts: np.ndarray, assembly: str) -> np.ndarray:
    """The input of a head.

    Args:
        parts: float (N, 3, C).
        assembly: one of `ASSEMBLIES`: "whole", the clip's own features; "halves", also the change from its first to
            its second half, which has a direction in time; or "spread", also the size of that change, which has none.

    Returns:
        float (N, C), or (N, 2 * C) with a change.
    """
    whole: np.ndarray = parts[:, 0]
    if assembly == "whole":
        return whole
    change = parts[:, 2] - parts[:, 1]
    return np.concatenate([whole, np.abs(change) if assembly == "spread" else change], axis=1)


def part_gradient(weight: np.ndarray, parts: np.ndarray, assembly: str) -> np.ndarray:
    """The derivative of a linear function of `assemble` by the parts of one clip.

    Args:
        weight: float (D,), of the function.
        parts: float (3, C), of the clip.

    Returns:
        float (3, C); for "whole" the last two rows are zero.
    """
    width = parts.shape[1]
    change = weight[width:] if assembly != "whole" else np.zeros_like(weight)
    if assembly == "spread":
        change = change * np.sign(parts[2] - parts[1])
    return np.stack([weight[:width], -change, change])


def check_clips(clips: Sequence[ClipFeatures]) -> tuple[str, ...]:
    """The actions of clips, in alphabetical order, without `NONE`.

    Raises:
        DataError: there are fewer than two actions, two names that differ only in case or spaces, a clip is there
            twice, or the features are of different networks.
    """
    labels = tuple(sorted({clip.label for clip in clips} - {NONE}))
    if len(labels) < 2:
        raise DataError(f"Two actions are needed to tell apart, and there is {labels[0] if labels else 'none'} alone.")
    names: dict[str, str] = {}
    for label in labels:
        other = names.setdefault(" ".join(label.replace("_", " ").split()).casefold(), label)
        if other != label:
            raise DataError(f"{other} and {label} are the same name. Give one of these actions another name.")
    seen: dict[bytes, ClipFeatures] = {}
    for clip in clips:
        if clip.parts.shape != clips[0].parts.shape:
            raise DataError(f"The features of {one_line(clip.source)} are of another network. Compute them again.")
        other_clip = seen.setdefault(clip.parts.tobytes(), clip)
        if other_clip is not clip:
            raise DataError(
                f"{one_line(clip.source)} of {clip.label} and {one_line(other_clip.source)} of {other_clip.label} are "
                "the same clip. Take one of them away."
            )
    return labels
