"""Which data set, and how it is to be split. Light: the command line reads it before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.options import check_options, option

SPLIT_METHODS = ("auto", "given", "paper", "official1", "official2", "official3", "groups")


@dataclass(frozen=True)
class DataSource:
    """A data set and how it is to be split.

    Attributes:
        location: as `finetune.data.layouts.collect` takes it.
        split: "given" by the data set's own tables; "paper", stratified by class, 10 % test, the rest
            80:20; one of HMDB51's "official1" to "official3"; "groups", as "paper", with all clips of
            one source video in one split; "auto", the first of given, official1 and paper that can be.
        allow_broken: go on where more than 2 % of the clips cannot be read.
        more: a folder <class>/<video> of further clips, for training alone; empty for none.
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

    def __post_init__(self) -> None:
        check_options(self)
