"""Accuracy that a checkpoint loses by lower precision, measured on validation clips.

Products in bfloat16 or int8 change the predictions of one checkpoint a lot and those of another not at all, so the cost
is measured: `python -m finetune evaluate --dtype bfloat16 --keep`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hmdb.errors import ModelError

# Tolerated loss of top-1 in points: bfloat16 is chosen automatically, int8 only on request.
MAX_TOP1_LOSS = {"bfloat16": 0.5, "int8": 1.0}


@dataclass(frozen=True, kw_only=True)
class PrecisionCost:
    """The cost of a precision relative to float32. Stored in config.json under the name of the precision.

    Attributes:
        top1_change: change of top-1 accuracy in points, on the same clips; negative if the precision is worse.
        clips: number of clips, at least 1.
        part: split of the data set, "val" or "test".
        same_top1: number of clips whose top-1 label did not change; None if not recorded.
        relative_time: time of an answer on the measuring machine, relative to float32; None if not recorded.

    Raises:
        ModelError: a value is out of range.
    """

    top1_change: float
    clips: int
    part: str
    same_top1: int | None = None
    relative_time: float | None = None

    def __post_init__(self) -> None:
        if type(self.top1_change) not in (int, float) or not -100 <= self.top1_change <= 100:
            raise ModelError(f"The top1_change of a precision must be a number from -100 to 100: {self.top1_change!r}.")
        if type(self.clips) is not int or self.clips < 1:
            raise ModelError(f"The clips of a precision must be a whole number of at least 1, not {self.clips!r}.")
        if self.part not in ("val", "test"):
            raise ModelError(f"The part of a precision must be val or test, not {self.part!r}.")
        same, time = self.same_top1, self.relative_time
        if same is not None and (type(same) is not int or not 0 <= same <= self.clips):
            raise ModelError(f"The same_top1 of a precision must be a number of its {self.clips} clips, not {same!r}.")
        if time is not None and (type(time) not in (int, float) or not 0 < time < 1e6):
            raise ModelError(f"The relative_time of a precision must be a number above 0, not {time!r}.")

    def within_tolerance(self, dtype: str) -> bool:
        """True if the loss is tolerated for this precision, "bfloat16" or "int8"."""
        return self.top1_change >= -MAX_TOP1_LOSS[dtype]

    def to_dict(self) -> dict[str, Any]:
        """The recorded values, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: object, dtype: str) -> PrecisionCost:
        """
        Args:
            dtype: the precision, for errors.

        Raises:
            ModelError: the value is not an object, or has other keys or values out of range.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or not {"top1_change", "clips", "part"} <= set(values) <= known:
            raise ModelError(f"{dtype} in config.json is not supported by this version: {values}.")
        return cls(**values)


def read_costs(config: Mapping[str, Any]) -> dict[str, PrecisionCost]:
    """The measured costs in the contents of a config.json, by the name of the precision.

    Raises:
        ModelError: an entry is not a valid cost.
    """
    return {dtype: PrecisionCost.from_dict(config[dtype], dtype) for dtype in MAX_TOP1_LOSS if dtype in config}
