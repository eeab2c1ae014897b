"""Splits a data set into train, val and test."""

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
    """The clips of a data set in train, val and test.

    Attributes:
        classes: the class names in the order of their ids, which is alphabetical.
        train, val, test: the clips of each.
        origin: how the splits were made, in words.
        data: the name of the data set.
        on_hub: True if that is an id on the Hub.
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
        """16 hexadecimal digits of the names and classes in each split; equal for equal splits."""
        lines = sorted(
            f"{split} {sample.label} {sample.name}" for split, part in self.by_name().items() for sample in part
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def without(self, names: Mapping[str, str]) -> Splits:
        """Leaves out clips that cannot be read, by name.

        Raises:
            DataError: a split is left without a class.
        """
        train, val, test = (
            tuple(sample for sample in part if sample.name not in names) for part in self.by_name().values()
        )
        readable = replace(self, train=train, val=val, test=test)
        readable.require_all_classes(" that can be read. Mend or replace them, or take these classes out.")
        return readable

    def require_all_classes(self, advice: str) -> None:
        """
        Args:
            advice: the end of the error message.

        Raises:
            DataError: a split has no clip of a class.
        """
        for split, samples in self.by_name().items():
            if missing := sorted(set(self.classes) - {sample.label for sample in samples}):
                where = f"The {split} split of {self.data} ({self.origin})"
                raise DataError(f"{where} has no clip of {', '.join(missing)}{advice}")

    def write(self, folder: Path) -> None:
        """Writes train.csv, val.csv and test.csv with the columns class, video_name."""
        for split, part in self.by_name().items():
            with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(("class", "video_name"))
                rows.writerows(map(row_of, part))


def row_of(sample: Sample) -> tuple[str, str]:
    """Returns class and name of a clip, the columns of a table of a split."""
    return sample.label, sample.name.removeprefix(f"{sample.label}/")


def read_splits(source: DataSource, seed: int = 0) -> Splits:
    """Lists the clips of a data set and splits them.

    Raises:
        DataError: no such data set, the wrong layout, splits that it does not have, a class
            without clips in one of them, too few clips or groups, or a cross-validation without a fold.
    """
    return split_dataset(index_dataset(source.location, source.group_by), source, seed)


def split_dataset(index: ClipIndex, source: DataSource, seed: int) -> Splits:
    """Splits a data set that has been indexed; raises as `read_splits`."""
    source.refuse_several()
    splits, origin = _split(index, source, seed)
    result = Splits(classes=index.classes, **splits, origin=origin, data=index.name, on_hub=index.on_hub)
    result.require_all_classes(f". {_advice(index, source)}")
    counts = Counter(sample.name for samples in splits.values() for sample in samples)
    shared = [name for name, count in counts.items() if count > 1]
    if shared:
        raise DataError(f"{len(shared)} clip(s) are in more than one split: {', '.join(shared[:3])} ...")
    return result


def read_all(source: DataSource) -> Splits:
    """Lists all clips of a data set as its test split.

    Raises:
        DataError: no such data set, or the wrong layout.
    """
    index = index_dataset(source.location, source.group_by)
    return Splits(
        classes=index.classes,
        train=(),
        val=(),
        test=index.samples,
        origin="all clips, undivided",
        data=index.name,
        on_hub=index.on_hub,
    )


def _split(index: ClipIndex, source: DataSource, seed: int) -> tuple[dict[str, tuple[Sample, ...]], str]:
    method = source.split
    if method == "auto":
        own = not source.makes_splits
        method = (
            "given"
            if index.given and own
            else "official1"
            if 1 in index.official and own
            else "groups"
            if source.group_by
            else "paper"
        )
    if method == "given":
        if not index.given:
            raise DataError(f"{index.name} comes without splits; --split paper makes them.")
        return _complete(index, source, seed)
    if official := re.fullmatch(r"official(\d)", method):
        _refuse_share(index, source, "test")
        return _official(index, int(official[1]), source.val_share, seed)
    return _make(list(index.samples), source, seed, grouped=method == "groups")


def _complete(index: ClipIndex, source: DataSource, seed: int) -> tuple[dict[str, tuple[Sample, ...]], str]:
    """Returns the data set's own splits; a missing one is taken from its train split."""
    splits, origin = dict(index.given), "as the data set gives it"
    for split, share in (("test", source.test_share), ("val", source.val_share)):
        if split in splits:
            _refuse_share(index, source, split)
        else:
            rest, cut, how = _cut(list(splits["train"]), share, seed)
            splits |= {"train": tuple(rest), split: tuple(cut)}
            origin += f", {split} being {share:.0%} of its train split{how}, seed {seed}"
    return splits, origin


def _cut(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample], str]:
    """Cuts off about a share of the samples, by source video if that leaves each class on both sides."""
    if all(sample.group for sample in samples):
        with suppress(DataError):
            rest, cut = _grouped(samples, share, seed)
            if {sample.label for sample in rest} == {sample.label for sample in cut}:
                return rest, cut, " by source video"
    return *_stratified(samples, share, seed), ""


def _refuse_share(index: ClipIndex, source: DataSource, split: str) -> None:
    source.refuse_share(split, f"{index.name} comes with a {split} split. --split paper makes new splits.")


def _official(index: ClipIndex, number: int, val_share: float, seed: int) -> tuple[dict[str, tuple[Sample, ...]], str]:
    if number not in index.official:
        raise DataError(
            f"{index.name} has no files <class>_test_split{number}.txt that name its clips; "
            "put them next to its class folders."
        )
    official = index.official[number]
    train, val = _grouped(list(official["train"]), val_share, seed)
    origin = f"HMDB51's official split {number}, {val_share:.0%} of its train part as val by source video, seed {seed}"
    return {"train": tuple(train), "val": tuple(val), "test": official["test"]}, origin


def _make(
    samples: list[Sample], source: DataSource, seed: int, *, grouped: bool
) -> tuple[dict[str, tuple[Sample, ...]], str]:
    split = _grouped if grouped else _stratified
    by = "stratified by class (paper, section 3)"
    if grouped:
        unit = f"group ({source.group_by})" if source.group_by else "source video"
        unknown = sum(sample.group is None for sample in samples)
        by = f"stratified by class, the clips of a {unit} together"
        by += f" (unknown for {unknown} clips, each taken by itself)" if unknown else ""
    if source.folds:
        rest, test = _fold(samples, source, seed, grouped=grouped)
        share = f"fold {source.fold} of {source.folds} as test"
    else:
        rest, test = split(samples, source.test_share, seed)
        share = f"{source.test_share:.0%} test"
    train, val = split(rest, source.val_share, seed)
    origin = f"{by}, {share}, the rest {1 - source.val_share:.0%} train and {source.val_share:.0%} val, seed {seed}"
    return {"train": tuple(train), "val": tuple(val), "test": tuple(test)}, origin


def _stratified(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Cuts off about a share of the samples, stratified, with at least one of each class on both sides."""
    counts = Counter(sample.label for sample in samples)
    label, least = min(counts.items(), key=lambda item: item[1])
    if least < 2:
        raise DataError(f"{label} has too few clips: each class needs at least 3, one each for train, val and test.")
    size: float | int = share if share * len(samples) >= len(counts) else len(counts)
    try:
        rest, cut = train_test_split(
            samples, test_size=size, stratify=[sample.label for sample in samples], random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"A share of {share:g} of {len(samples)} clips leaves too few of {len(counts)} classes for the rest."
        ) from error
    for here, there in ((cut, rest), (rest, cut)):  # the share of a rare class may be less than half a clip
        for label in sorted({sample.label for sample in there} - {sample.label for sample in here}):
            sample = next(sample for sample in there if sample.label == label)
            there.remove(sample)
            here.append(sample)
    return rest, cut


def _grouped(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Cuts off about a share of the samples, nearly stratified, with all clips of a group on one side."""
    labels = [sample.label for sample in samples]
    groups = _groups(samples)
    folds = min(max(round(1 / share), 2), len(set(groups)), min(Counter(labels).values(), default=0))
    if folds < 2:
        raise _too_few_groups(samples)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    candidates = list(splitter.split(np.zeros(len(samples)), labels, groups))
    rest, cut = max(
        candidates, key=lambda sides: (_common_classes(samples, sides), -abs(len(sides[1]) - share * len(samples)))
    )
    return [samples[index] for index in rest], [samples[index] for index in cut]


def _fold(samples: list[Sample], source: DataSource, seed: int, *, grouped: bool) -> tuple[list[Sample], list[Sample]]:
    """Returns the other folds of a cross-validation, and the test fold."""
    labels = [sample.label for sample in samples]
    groups = _groups(samples) if grouped else [sample.name for sample in samples]
    if len(set(groups)) < source.folds:
        raise _too_few_groups(samples)
    if min(Counter(labels).values()) < source.folds and not grouped:
        label, least = Counter(labels).most_common()[-1]
        raise DataError(f"{label} has {least} clip(s), too few for {source.folds} folds. Lower --folds.")
    splitter = StratifiedGroupKFold(source.folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # of classes in fewer groups than folds; missing classes are an error later
        warnings.simplefilter("ignore", UserWarning)
        rest, test = list(splitter.split(np.zeros(len(samples)), labels, groups))[source.fold - 1]
    return [samples[index] for index in rest], [samples[index] for index in test]


def _groups(samples: Sequence[Sample]) -> list[str]:
    return [sample.group or sample.name for sample in samples]


def _common_classes(samples: Sequence[Sample], sides: tuple[np.ndarray, np.ndarray]) -> int:
    """Counts the classes with clips on both sides."""
    rest, cut = ({samples[index].label for index in side} for side in sides)
    return len(rest & cut)


def _too_few_groups(samples: Sequence[Sample]) -> DataError:
    groups = sorted(set(_groups(samples)))
    return DataError(
        f"There are too few groups to keep apart: {len(groups)} ({', '.join(groups[:3])}). Train, val and test need "
        "one each, and a cross-validation as many as folds. Group by something finer, or leave --group-by out."
    )


def _advice(index: ClipIndex, source: DataSource) -> str:
    if source.group_by or source.split == "groups":
        count = len(set(_groups(index.samples)))
        return f"Its {count} groups do not all show every class: raise the shares, or group by something finer."
    return "Add clips, or take these classes out."
