"""The clips of a data set: `Sample` and `ClipIndex`."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {  # usual name -> ours
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def nfc(name: str) -> str:
    """Normalizes a name to NFC: macOS writes accents as characters of their own in file names."""
    return unicodedata.normalize("NFC", name)


@dataclass(frozen=True)
class Sample:
    """A clip on disk and its class. All texts are in NFC.

    Attributes:
        path: a video file or a folder of frames.
        label: the name of its class.
        name: its name in the data set, unique there: "wave/clip 7.avi".
        group: the source video or the person that it shares with other clips, which belong in one split with it; None
            if unknown.
    """

    path: Path
    label: str
    name: str
    group: str | None = None

    def __post_init__(self) -> None:
        for name in ("label", "name", "group"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, nfc(value))


@dataclass(frozen=True, kw_only=True)
class ClipIndex:
    """The clips of a data set.

    Attributes:
        name: of the data set: its folder, its table, or its id on the Hub.
        samples: all clips, in order of class and name.
        given: "train", "val" and "test" -> clips, where the data set comes with splits.
        official: 1, 2 and 3 -> "train" and "test" -> clips, where HMDB51's own tables are there.
        on_hub: True if the name is an id on the Hub.
        grouped: True if each clip's group is the one that was asked for.
    """

    name: str
    samples: tuple[Sample, ...]
    given: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    official: Mapping[int, Mapping[str, tuple[Sample, ...]]] = field(default_factory=dict)
    on_hub: bool = False
    grouped: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in the order of their ids, which is alphabetical."""
        return tuple(sorted({sample.label for sample in self.samples}))
