"""A data folder -> which clips train, which choose, which test."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sklearn.model_selection import train_test_split

from hmdb.errors import DataError
from hmdb.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

SPLITS = ("train", "val", "test")
TEST_SHARE = 0.1
VAL_SHARE = 0.2  # of what is left

HOW_TO_GET_DATA = (
    "Get HMDB51 from https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/, "
    "lay it out as <folder>/<class>/<clip>, each clip a video file or a folder of frames, and pass --data <folder>."
)


@dataclass(frozen=True)
class Sample:
    """A clip on disk and its class."""

    path: Path
    label: str

    @property
    def name(self) -> str:
        return f"{self.label}/{self.path.name}"


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The clips of a data set, divided.

    Attributes:
        classes: the class names in the order of their ids, which is the alphabetical one.
        train, val, test: the clips of each part.
        origin: how the division came about, in words.
    """

    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    origin: str

    def write(self, folder: Path) -> None:
        """Writes train.csv, val.csv and test.csv with the columns class, video_name."""
        for split in SPLITS:
            with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(("class", "video_name"))
                rows.writerows((sample.label, sample.path.name) for sample in getattr(self, split))


def read_splits(root: Path, seed: int = 0) -> Splits:
    """The clips of `<root>/<class>/<clip>`, divided by train.csv, val.csv and test.csv if they are
    there, else as in the paper: stratified by class, 10 % test, the rest 80:20, seeded.

    Raises:
        DataError: no such folder, fewer than two classes, an empty class, a csv that names clips
            which are not there, or too few clips to divide.
    """
    if not root.is_dir():
        raise DataError(f"There is no data folder {root}. {HOW_TO_GET_DATA}")
    samples = find_samples(root)
    classes = tuple(sorted({sample.label for sample in samples}))
    tables = {split: root / f"{split}.csv" for split in SPLITS}
    present = [path for path in tables.values() if path.exists()]
    if len(present) == len(SPLITS):
        parts = {split: _read_table(path, samples, classes) for split, path in tables.items()}
        return Splits(classes=classes, **parts, origin=f"the csv files of {root.name}")
    if present:
        missing = ", ".join(path.name for path in tables.values() if path not in present)
        raise DataError(f"{root} has {present[0].name} but lacks {missing}; give all three or none.")
    return _stratified(samples, classes, seed)


def find_samples(root: Path) -> list[Sample]:
    """All clips of `<root>/<class>/<clip>`, in order of class and name.

    Raises:
        DataError: fewer than two classes, or a class without clips.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {
        folder.name: [Sample(path, folder.name) for path in sorted(folder.iterdir()) if _is_clip(path)]
        for folder in folders
    }
    if len(found) < 2:
        raise DataError(
            f"{root} holds {len(found)} class folder(s); at least two are needed, as <root>/<class>/<clip>."
        )
    empty = [label for label, samples in found.items() if not samples]
    if len(empty) == len(found):
        raise DataError(
            f"No class folder of {root} holds a video file or a folder of frames; is it one level too high or too low?"
        )
    if empty:
        raise DataError(f"These classes of {root} have no clips: {', '.join(empty)}. Fill or remove their folders.")
    return [sample for samples in found.values() for sample in samples]


def _is_clip(path: Path) -> bool:
    if path.is_dir():
        return any(child.suffix.lower() in IMAGE_SUFFIXES for child in path.iterdir())
    return path.suffix.lower() in VIDEO_SUFFIXES


def _read_table(path: Path, samples: Iterable[Sample], classes: tuple[str, ...]) -> tuple[Sample, ...]:
    known = {(sample.label, name): sample for sample in samples for name in (sample.path.name, sample.path.stem)}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if not {"class", "video_name"} <= set(rows.fieldnames or ()):
            raise DataError(
                f"{path} needs the columns class, video_name; it has {', '.join(rows.fieldnames or ('none',))}."
            )
        names = [(row["class"], row["video_name"]) for row in rows]
    absent = [f"{label}/{name}" for label, name in names if (label, name) not in known]
    if absent:
        raise DataError(f"{path.name} names {len(absent)} clip(s) that are not there: {', '.join(absent[:3])} ...")
    if not names:
        raise DataError(f"{path} names no clips.")
    twice = [f"{label}/{name}" for (label, name), count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path.name} names clips more than once: {', '.join(twice[:3])} ...")
    without = set(classes) - {label for label, _ in names}
    if without and path.stem == "train":
        raise DataError(f"{path.name} has no clip of {', '.join(sorted(without))}.")
    return tuple(known[name] for name in names)


def _stratified(samples: list[Sample], classes: tuple[str, ...], seed: int) -> Splits:
    def divide(part: list[Sample], share: float) -> tuple[list[Sample], list[Sample]]:
        labels = [sample.label for sample in part]
        rest, taken = train_test_split(part, test_size=share, stratify=labels, random_state=seed)
        return rest, taken

    try:
        rest, test = divide(samples, TEST_SHARE)
        train, val = divide(rest, VAL_SHARE)
    except ValueError as error:
        smallest = min(Counter(sample.label for sample in samples).items(), key=lambda item: item[1])
        raise DataError(
            f"{len(samples)} clips of {len(classes)} classes are too few to divide into train, val and test "
            f"({smallest[0]} has {smallest[1]}); about 10 a class are needed, or your own train.csv, val.csv, test.csv."
        ) from error
    origin = f"stratified by class, {TEST_SHARE:.0%} test, the rest 80:20 (paper, section 3), seed {seed}"
    return Splits(classes=classes, train=tuple(train), val=tuple(val), test=tuple(test), origin=origin)
