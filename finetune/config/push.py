"""Settings of a push to the Hub."""

from __future__ import annotations

from dataclasses import dataclass

from hmdb.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Publication:
    """Where a run is pushed, and what of it.

    Attributes:
        repository: "owner/name", or a name alone for one of the token's owner; empty for one made from model and data.
        private: only the owner sees the repository.
        replace: what another run left there goes.
        frames: the examples of the report, which show frames of the clips.
        logs: TensorBoard's files, which show frames, too.

    Raises:
        DataError: with the logs and without frames.
    """

    repository: str = ""
    private: bool = False
    replace: bool = False
    frames: bool = True
    logs: bool = False

    def __post_init__(self) -> None:
        if self.logs and not self.frames:
            raise DataError("--logs pushes TensorBoard's files, which show frames, too: leave it out, or --no-frames.")
