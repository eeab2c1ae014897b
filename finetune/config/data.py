"""Which data set, and how it is to be split. Light: the command line reads it before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.config.fields import check_options, option
from hmdb.errors import DataError

HUB_PREFIX = "hub:"  # a location that begins so is a data set on the Hub
SPLIT_METHODS = ("auto", "given", "paper", "official1", "official2", "official3", "groups")


@dataclass(frozen=True)
class DataSource:
    """A data set and how it is to be split.

    Attributes:
        location: as `finetune.data.layouts.index_dataset` takes it.
        split: "given" by the data set's own tables; "paper", stratified by class, 10 % test, the rest
            80:20; one of HMDB51's "official1" to "official3"; "groups", as "paper", with all clips of
            one source video in one split; "auto", the first of given, official1 and paper that can be.
        allow_broken: go on where more than 2 % of the clips cannot be read.
        more: a folder <class>/<video> of further clips, for training alone; empty for none.
        keep_similar: keep further clips that resemble those of val or test.
        test_share, val_share: of all clips, and of what the test split leaves; where train, val and test are made
            here. Every class has at least one clip in each.
        group_by: what tells whose clip it is, so that nobody is in two splits: a column of the csv, "folder" for the
            clip's folder, or a regular expression with one group in brackets for the clip's name; empty for the source
            video that HMDB51's names tell. With one, "auto" is "groups".
        folds, fold: of a cross-validation, whose fold-th part (from 1) is the test split; 0 for none, or for each in
            turn.
    """

    location: str = option(
        "data/HMDB_simp",
        "a folder <class>/<clip>, a csv of path and label, or hub:<dataset id>",
        flag="--data",
        metavar="WHERE",
    )
    split: str = option("auto", "how train, val and test are made", choices=SPLIT_METHODS)
    allow_broken: bool = option(False, "go on where over 2 % of the clips cannot be read")
    more: str = option("", "further clips <class>/<video>, for training alone", metavar="DIR")
    keep_similar: bool = option(False, "train on further clips even if they resemble clips of val or test")
    test_share: float = option(0.1, "share of the clips that test", above=0, below=1)
    val_share: float = option(0.2, "share of the rest that chooses the epoch", above=0, below=1)
    group_by: str = option(
        "",
        "keep clips of one person or source in one split: a csv column, folder, or a pattern such as '^([a-z]+)_'",
        metavar="WHAT",
    )
    folds: int = option(0, "cross-validate: train K times, each fold testing once", least=0, metavar="K")
    fold: int = option(0, "of K folds the one that tests, from 1, instead of each in turn", least=0, metavar="N")

    def __post_init__(self) -> None:
        check_options(self)
        if self.folds == 1:
            raise DataError("A cross-validation has at least 2 folds, not 1.")
        if self.fold and not self.folds:
            raise DataError(f"--fold {self.fold} is of a cross-validation: add --folds with their number.")
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
        """Whether it is several divisions, one a fold."""
        return bool(self.folds and not self.fold)

    def refuse_several(self) -> None:
        """For what takes one division.

        Raises:
            DataError: it is several.
        """
        if self.is_cross_validation:
            raise DataError(
                f"--folds {self.folds} tests each clip once, in {self.folds} runs. Say of which: --fold 1, for one."
            )

    def refuse_share(self, split: str, why: str) -> None:
        """For what takes no share of the clips as "test" or "val".

        Raises:
            DataError: there is one other than the default.
        """
        name = f"{split}_share"
        if (share := getattr(self, name)) != getattr(DataSource, name):
            raise DataError(f"--{split}-share {share:g} has no effect: {why}")

    @property
    def makes_splits(self) -> bool:
        """Whether the splits are made here whatever the data set brings."""
        return bool(self.group_by or self.folds)
