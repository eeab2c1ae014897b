"""The clips of a data set -> which of them train, which choose, which test."""

from __future__ import annotations

import csv
import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from finetune.config.data import DataSource
from finetune.data.layouts import index_dataset
from finetune.data.sample import SPLITS, ClipIndex, Sample
from hmdb.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The clips of a data set, in train, val and test.

    Attributes:
        classes: the class names in the order of their ids, which is the alphabetical one.
        train, val, test: the clips of each.
        origin: how that came about, in words.
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
        """16 hexadecimal digits that two share only where they put the same clips in the same splits."""
        lines = sorted(
            f"{split} {sample.label} {sample.name}" for split, part in self.by_name().items() for sample in part
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def without(self, names: Mapping[str, str]) -> Splits:
        """The same with the clips of these names, which cannot be read, left out.

        Raises:
            DataError: that leaves a split without a class.
        """
        train, val, test = (
            tuple(sample for sample in part if sample.name not in names) for part in self.by_name().values()
        )
        found = replace(self, train=train, val=val, test=test)
        found.refuse_lacking(" that can be read. Mend or replace them, or take these classes out.")
        return found

    def refuse_lacking(self, what_helps: str) -> None:
        """For what needs clips of each class in each split.

        Args:
            what_helps: the end of the sentence that says what is lacking.

        Raises:
            DataError: some are lacking.
        """
        for split, samples in self.by_name().items():
            if lacking := sorted(set(self.classes) - {sample.label for sample in samples}):
                where = f"The {split} split of {self.data} ({self.origin})"
                raise DataError(f"{where} has no clip of {', '.join(lacking)}{what_helps}")

    def write(self, folder: Path) -> None:
        """Writes train.csv, val.csv and test.csv with the columns class, video_name."""
        for split, part in self.by_name().items():
            with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(("class", "video_name"))
                rows.writerows(map(row_of, part))


def row_of(sample: Sample) -> tuple[str, str]:
    """Class and name of a clip, as the tables have it."""
    return sample.label, sample.name.removeprefix(f"{sample.label}/")


def read_splits(source: DataSource, seed: int = 0) -> Splits:
    """The clips of a data set, in train, val and test.

    Raises:
        DataError: no such data set, the wrong layout, splits that it does not have, a class
            without clips in one of them, too few clips or groups, or folds without the one that tests.
    """
    return split_dataset(index_dataset(source.location, source.group_by), source, seed)


def split_dataset(collection: ClipIndex, source: DataSource, seed: int) -> Splits:
    """Splits a data set that has been indexed; raises as `read_splits`."""
    source.refuse_several()
    splits, origin = _split(collection, source, seed)
    found = Splits(classes=collection.classes, **splits, origin=origin, data=collection.name, on_hub=collection.on_hub)
    found.refuse_lacking(f". {_what_helps(collection, source)}")
    twice = Counter(sample.name for samples in splits.values() for sample in samples)
    shared = [name for name, count in twice.items() if count > 1]
    if shared:
        raise DataError(f"{len(shared)} clip(s) are in more than one split: {', '.join(shared[:3])} ...")
    return found


def read_all(source: DataSource) -> Splits:
    """All clips of a data set, undivided: as its test split.

    Raises:
        DataError: no such data set, or the wrong layout.
    """
    found = index_dataset(source.location, source.group_by)
    return Splits(
        classes=found.classes,
        train=(),
        val=(),
        test=found.samples,
        origin="all clips, undivided",
        data=found.name,
        on_hub=found.on_hub,
    )


def _split(collection: ClipIndex, source: DataSource, seed: int) -> tuple[dict[str, tuple[Sample, ...]], str]:
    method = source.split
    if method == "auto":
        brought = not source.makes_splits
        method = (
            "given"
            if collection.given and brought
            else "official1"
            if 1 in collection.official and brought
            else "groups"
            if source.group_by
            else "paper"
        )
    if method == "given":
        if not collection.given:
            raise DataError(f"{collection.name} does not say which clips train; --split paper divides it.")
        return _completed(collection, source, seed)
    if official := re.fullmatch(r"official(\d)", method):
        _refuse_share(collection, source, "test")
        return _official(collection, int(official[1]), source.val_share, seed)
    return _made(list(collection.samples), source, seed, grouped=method == "groups")


def _completed(collection: ClipIndex, source: DataSource, seed: int) -> tuple[dict[str, tuple[Sample, ...]], str]:
    """The splits of the data set itself; what it lacks is cut from its training clips."""
    splits, told = dict(collection.given), "as the data set gives it"
    for split, share in (("test", source.test_share), ("val", source.val_share)):
        if split in splits:
            _refuse_share(collection, source, split)
        else:
            rest, taken, how = _apart(list(splits["train"]), share, seed)
            splits |= {"train": tuple(rest), split: tuple(taken)}
            told += f", {split} being {share:.0%} of its train split{how}, seed {seed}"
    return splits, told


def _apart(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample], str]:
    """The rest and about a share of the samples, cut by source video if that leaves each class on both sides."""
    if all(sample.group for sample in samples):
        with suppress(DataError):
            rest, taken = _grouped(samples, share, seed)
            if {sample.label for sample in rest} == {sample.label for sample in taken}:
                return rest, taken, " by source video"
    return *_stratified(samples, share, seed), ""


def _refuse_share(collection: ClipIndex, source: DataSource, split: str) -> None:
    source.refuse_share(split, f"{collection.name} brings its {split} split. --split paper makes all splits anew.")


def _official(
    collection: ClipIndex, number: int, val_share: float, seed: int
) -> tuple[dict[str, tuple[Sample, ...]], str]:
    if number not in collection.official:
        raise DataError(
            f"{collection.name} has no files <class>_test_split{number}.txt that name its clips; "
            "they belong beside its classes."
        )
    official = collection.official[number]
    train, val = _grouped(list(official["train"]), val_share, seed)
    origin = f"HMDB51's official split {number}, {val_share:.0%} of its train part as val by source video, seed {seed}"
    return {"train": tuple(train), "val": tuple(val), "test": official["test"]}, origin


def _made(
    samples: list[Sample], source: DataSource, seed: int, *, grouped: bool
) -> tuple[dict[str, tuple[Sample, ...]], str]:
    cut = _grouped if grouped else _stratified
    by = "stratified by class (paper, section 3)"
    if grouped:
        whose = f"group ({source.group_by})" if source.group_by else "source video"
        unknown = sum(sample.group is None for sample in samples)
        by = f"stratified by class, the clips of a {whose} together"
        by += f" (unknown for {unknown} clips, each taken by itself)" if unknown else ""
    if source.folds:
        rest, test = _fold(samples, source, seed, grouped=grouped)
        share = f"fold {source.fold} of {source.folds} as test"
    else:
        rest, test = cut(samples, source.test_share, seed)
        share = f"{source.test_share:.0%} test"
    train, val = cut(rest, source.val_share, seed)
    told = f"{by}, {share}, the rest {1 - source.val_share:.0%} train and {source.val_share:.0%} val, seed {seed}"
    return {"train": tuple(train), "val": tuple(val), "test": tuple(test)}, told


def _stratified(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """The rest and about a share of the samples, with at least one of each class in both."""
    counts = Counter(sample.label for sample in samples)
    label, least = min(counts.items(), key=lambda item: item[1])
    if least < 2:
        raise DataError(
            f"{label} has too few clips: each class needs at least 3, one each to train on, to choose by and to test."
        )
    size: float | int = share if share * len(samples) >= len(counts) else len(counts)
    try:
        rest, taken = train_test_split(
            samples, test_size=size, stratify=[sample.label for sample in samples], random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"A share of {share:g} of {len(samples)} clips leaves too few of {len(counts)} classes for the rest."
        ) from error
    for here, there in ((taken, rest), (rest, taken)):  # of a rare class the share may be less than half a clip
        for label in sorted({sample.label for sample in there} - {sample.label for sample in here}):
            sample = next(sample for sample in there if sample.label == label)
            there.remove(sample)
            here.append(sample)
    return rest, taken


def _grouped(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """As `_stratified`, near enough, with all clips of one group on one side."""
    labels = [sample.label for sample in samples]
    groups = _groups(samples)
    folds = min(max(round(1 / share), 2), len(set(groups)), min(Counter(labels).values(), default=0))
    if folds < 2:
        raise _too_few_groups(samples)
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    cuts = [(rest, taken) for rest, taken in cutter.split(np.zeros(len(samples)), labels, groups)]
    rest, taken = max(cuts, key=lambda cut: (_classes(samples, cut), -abs(len(cut[1]) - share * len(samples))))
    return [samples[index] for index in rest], [samples[index] for index in taken]


def _fold(samples: list[Sample], source: DataSource, seed: int, *, grouped: bool) -> tuple[list[Sample], list[Sample]]:
    """The rest, and the fold of a cross-validation that tests."""
    labels = [sample.label for sample in samples]
    groups = _groups(samples) if grouped else [sample.name for sample in samples]
    if len(set(groups)) < source.folds:
        raise _too_few_groups(samples)
    if min(Counter(labels).values()) < source.folds and not grouped:
        label, least = Counter(labels).most_common()[-1]
        raise DataError(f"{label} has {least} clip(s), too few for {source.folds} folds. Lower --folds.")
    cutter = StratifiedGroupKFold(source.folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # of classes that are in fewer groups than folds; what is lacking is told later
        warnings.simplefilter("ignore", UserWarning)
        rest, taken = list(cutter.split(np.zeros(len(samples)), labels, groups))[source.fold - 1]
    return [samples[index] for index in rest], [samples[index] for index in taken]


def _groups(samples: Sequence[Sample]) -> list[str]:
    return [sample.group or sample.name for sample in samples]


def _classes(samples: Sequence[Sample], cut: tuple[np.ndarray, np.ndarray]) -> int:
    """Of how many classes both sides have clips."""
    sides = [{samples[index].label for index in side} for side in cut]
    return len(sides[0] & sides[1])


def _too_few_groups(samples: Sequence[Sample]) -> DataError:
    found = sorted(set(_groups(samples)))
    return DataError(
        f"There are too few groups to keep apart: {len(found)} ({', '.join(found[:3])}). Train, val and test need one "
        "each, and a cross-validation as many as folds. Group by something finer, or leave --group-by out."
    )


def _what_helps(collection: ClipIndex, source: DataSource) -> str:
    if source.group_by or source.split == "groups":
        count = len(set(_groups(collection.samples)))
        return f"Its {count} groups do not all show every class: raise the shares, or group by something finer."
    return "Add clips, or take these classes out."
