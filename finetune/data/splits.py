"""The clips of a data set -> which of them train, which choose, which test."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from finetune.data.layouts import SPLITS, Collection, Sample, collect
from finetune.data.source import DataSource
from hmdb.errors import DataError

TEST_SHARE = 0.1
VAL_SHARE = 0.2  # of what is left


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The clips of a data set, divided.

    Attributes:
        classes: the class names in the order of their ids, which is the alphabetical one.
        train, val, test: the clips of each part.
        origin: how the division came about, in words.
        data: the name of the data set.
        on_hub: whether that is an id on the Hub.
    """

    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    origin: str
    data: str = "data"
    on_hub: bool = False

    def by_name(self) -> dict[str, tuple[Sample, ...]]:
        return {split: getattr(self, split) for split in SPLITS}

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that two divisions share only where they put the same clips in the same parts."""
        lines = sorted(
            f"{split} {sample.label} {sample.name}" for split, part in self.by_name().items() for sample in part
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def without(self, names: Mapping[str, str]) -> Splits:
        """The same division with the clips of these names left out."""
        train, val, test = (
            tuple(sample for sample in part if sample.name not in names) for part in self.by_name().values()
        )
        return replace(self, train=train, val=val, test=test)

    def write(self, folder: Path) -> None:
        """Writes train.csv, val.csv and test.csv with the columns class, video_name."""
        for split, part in self.by_name().items():
            with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(("class", "video_name"))
                rows.writerows((sample.label, sample.name.removeprefix(f"{sample.label}/")) for sample in part)


def read_splits(source: DataSource, seed: int = 0) -> Splits:
    """The clips of a data set, divided.

    Raises:
        DataError: no such data set, the wrong layout, a division that it does not have, a class
            without clips in one of the parts, or too few clips to divide.
    """
    collection = collect(source.location)
    how = source.split
    if how == "auto":
        how = "given" if collection.given else "official1" if 1 in collection.official else "paper"
    parts, origin = _divide(collection, how, seed)
    for split, part in parts.items():
        lacking = set(collection.classes) - {sample.label for sample in part}
        if lacking:
            raise DataError(
                f"The {split} part of {collection.name} ({origin}) has no clip of {', '.join(sorted(lacking))}. "
                "Add clips, or take these classes out."
            )
    twice = Counter(sample.name for part in parts.values() for sample in part)
    shared = [name for name, count in twice.items() if count > 1]
    if shared:
        raise DataError(f"{len(shared)} clip(s) are in more than one part: {', '.join(shared[:3])} ...")
    return Splits(classes=collection.classes, **parts, origin=origin, data=collection.name, on_hub=collection.on_hub)


def _divide(collection: Collection, how: str, seed: int) -> tuple[dict[str, tuple[Sample, ...]], str]:
    shares = f"{TEST_SHARE:.0%} test, the rest {1 - VAL_SHARE:.0%} train and {VAL_SHARE:.0%} val, seed {seed}"
    if how == "given":
        if not collection.given:
            raise DataError(f"{collection.name} does not say which clips train; --split paper divides it.")
        return dict(collection.given), "as the data set gives it"
    if official := re.fullmatch(r"official(\d)", how):
        number = int(official[1])
        if number not in collection.official:
            raise DataError(
                f"{collection.name} has no files <class>_test_split{number}.txt; they belong beside its classes."
            )
        division = collection.official[number]
        rest, val = _grouped(list(division["train"]), VAL_SHARE, seed)
        origin = (
            f"HMDB51's official split {number}, {VAL_SHARE:.0%} of its train part as val by source video, seed {seed}"
        )
        return {"train": tuple(rest), "val": tuple(val), "test": division["test"]}, origin
    divide = _grouped if how == "groups" else _stratified
    rest, test = divide(list(collection.samples), TEST_SHARE, seed)
    train, val = divide(rest, VAL_SHARE, seed)
    by = "stratified by class (paper, section 3)"
    if how == "groups":
        unknown = sum(sample.source is None for sample in collection.samples)
        by = "stratified by class, the clips of a source video together"
        by += f" (unknown for {unknown} clips, each taken by itself)" if unknown else ""
    return {"train": tuple(train), "val": tuple(val), "test": tuple(test)}, f"{by}, {shares}"


def _stratified(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    labels = [sample.label for sample in samples]
    try:
        rest, taken = train_test_split(samples, test_size=share, stratify=labels, random_state=seed)
    except ValueError as error:
        raise _too_few(samples) from error
    return rest, taken


def _grouped(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """As `_stratified`, near enough, with all clips of one source video on one side."""
    labels = [sample.label for sample in samples]
    groups = [sample.source or sample.name for sample in samples]
    folds = round(1 / share)
    if min(Counter(labels).values(), default=0) < folds or len(set(groups)) < folds:
        raise _too_few(samples)
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    cuts = [(rest, taken) for rest, taken in cutter.split(np.zeros(len(samples)), labels, groups)]
    rest, taken = max(cuts, key=lambda cut: (_classes(samples, cut[1]), -abs(len(cut[1]) - share * len(samples))))
    return [samples[index] for index in rest], [samples[index] for index in taken]


def _classes(samples: Sequence[Sample], indices: np.ndarray) -> int:
    return len({samples[index].label for index in indices})


def _too_few(samples: Sequence[Sample]) -> DataError:
    counts = Counter(sample.label for sample in samples)
    label, count = min(counts.items(), key=lambda item: item[1], default=("no class", 0))
    return DataError(
        f"{len(samples)} clips of {len(counts)} classes are too few to divide into train, val and test "
        f"({label} has {count}); about 10 a class are needed, or your own train.csv, val.csv, test.csv."
    )
