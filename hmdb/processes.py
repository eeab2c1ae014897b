"""One piece of work shared among the processes that `accelerate launch` starts, on one machine or many."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")

_NOTHING: Any = object()
PATIENCE = timedelta(days=7)  # of the processes that are done, with those that are not


class Processes:
    """This process among those that work together; alone, where it was started alone.

    Attributes:
        index, count: 0-based number of this process, and how many there are.
        device: of this process, as torch names it; None where it is alone.
    """

    def __init__(self) -> None:
        self.index, self.count = 0, 1
        self.device: str | None = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            import torch
            from accelerate import PartialState

            self._state: Any = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
            self.index, self.count = self._state.process_index, self._state.num_processes
            self.device = str(self._state.device)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Every count-th of the items, so that long ones that lie together are shared too."""
        return items[self.index :: self.count]

    def gather(self, results: list[U]) -> list[U]:
        """The results for all items in the order of the items, given those for the share of each process.

        The processes part company here.
        """
        if self.count == 1:
            return results
        from accelerate.utils import gather_object

        shares: list[list[U]] = gather_object([results])
        self._state.destroy_process_group()
        rounds = itertools.zip_longest(*shares, fillvalue=_NOTHING)
        return [result for each in rounds for result in each if result is not _NOTHING]
