"""Settings of a push to the Hub."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.config.fields import option
from hmdb.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Publication:
    """The repository of a push, and the files that go there.

    Attributes:
        repository: "owner/name", or a name alone for one of the token's owner; empty for one made from model and data.
        replace: overwrite another run in the repository.

    Raises:
        DataError: logs without frames.
    """

    repository: str = ""
    private: bool = option(False, "only you can see the repository")
    replace: bool = option(False, "overwrite another run in the repository")
    no_frames: bool = option(False, "leave out the figures that show frames of clips")
    logs: bool = option(False, "push TensorBoard's files, too; they show frames")

    def __post_init__(self) -> None:
        if self.logs and self.no_frames:
            raise DataError("--logs pushes TensorBoard's files, which show frames, too: leave it out, or --no-frames.")
