"""Settings of a data set and its splits."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.config.fields import check_options, option
from hmdb.errors import DataError

HUB_PREFIX = "hub:"  # of a location on the Hub
SPLIT_METHODS = ("auto", "given", "paper", "official1", "official2", "official3", "groups")


@dataclass(frozen=True)
class DataSource:
    """The location of a data set and the method of its splits.

    Attributes:
        location: as `finetune.data.layouts.index_dataset` takes it.
        split: "given": the data set's own; "paper": stratified by class, 10 % test, the rest 80:20 train and val;
            "official1" to "official3": HMDB51's; "groups": like "paper", with all clips of a source video in one
            split; "auto": the first possible of given, official1 and paper.
        allow_broken: continue if more than 2 % of the clips cannot be read.
        more: a folder <class>/<video> of extra clips, for training alone; empty for none.
        keep_similar: keep extra clips that resemble val or test clips.
        test_share, val_share: fractions of all clips, and of those that are not in test, where the splits are made
            here. Every class has at least one clip in each.
        group_by: the rule for groups, such as persons, that stay in one split: a column of the csv, "folder" for the
            clip's folder, or a regular expression with one group in brackets for the clip's name; empty for the source
            video in HMDB51's names. With a rule, "auto" is "groups".
        folds, fold: K of a K-fold cross-validation, and the fold (from 1) that is the test split; 0 for none, or for
            every fold in turn.
    """

    location: str = option(
        "data/HMDB_simp",
        "a folder <class>/<clip>, a csv of path and label, or hub:<dataset id>",
        flag="--data",
        metavar="WHERE",
    )
    split: str = option("auto", "how to make train, val and test", choices=SPLIT_METHODS)
    allow_broken: bool = option(False, "continue if more than 2 % of the clips cannot be read")
    more: str = option(
        "", "folder <class>/<video> of further clips, for training alone", flag="--extra-train-data", metavar="DIR"
    )
    keep_similar: bool = option(
        False, "train on further clips even if they resemble clips of val or test", flag="--allow-near-duplicates"
    )
    test_share: float = option(0.1, "fraction of clips in the test split", above=0, below=1)
    val_share: float = option(0.2, "fraction of the remaining clips in the val split", above=0, below=1)
    group_by: str = option(
        "",
        "keep clips of one person or source in one split: a csv column, folder, or a pattern such as '^([a-z]+)_'",
        metavar="WHAT",
    )
    folds: int = option(0, "K-fold cross-validation: each fold is the test split of one run", least=0, metavar="K")
    fold: int = option(0, "run only fold N, from 1", least=0, metavar="N")

    def __post_init__(self) -> None:
        check_options(self)
        if self.folds == 1:
            raise DataError("A cross-validation has at least 2 folds, not 1.")
        if self.fold and not self.folds:
            raise DataError(f"--fold {self.fold} needs --folds, their number.")
        if self.fold > self.folds:
            raise DataError(f"There is no fold {self.fold} of {self.folds}.")
        if self.group_by and self.split not in ("auto", "groups"):
            raise DataError(f"--group-by makes the splits itself; leave out --split {self.split}.")
        if self.folds and self.split not in ("auto", "groups", "paper"):
            raise DataError(f"--folds makes the splits itself; leave out --split {self.split}.")
        if self.folds:
            self.refuse_share("test", f"each of the {self.folds} folds tests as many clips.")

    @property
    def is_cross_validation(self) -> bool:
        """True for one split a fold, False for a single one."""
        return bool(self.folds and not self.fold)

    def refuse_several(self) -> None:
        """
        Raises:
            DataError: these are several splits, one a fold.
        """
        if self.is_cross_validation:
            raise DataError(
                f"--folds {self.folds} tests each clip once, in {self.folds} runs. Choose one, such as --fold 1."
            )

    def refuse_share(self, split: str, why: str) -> None:
        """
        Raises:
            DataError: the share of "test" or "val" is set, which has no effect.
        """
        name = f"{split}_share"
        if (share := getattr(self, name)) != getattr(DataSource, name):
            raise DataError(f"--{split}-share {share:g} has no effect: {why}")

    @property
    def makes_splits(self) -> bool:
        """True if the splits are made here even where the data set has its own."""
        return bool(self.group_by or self.folds)
