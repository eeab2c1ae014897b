"""What a rougher precision costs a checkpoint, as its own validation clips say.

The same products in bfloat16 or int8 change one checkpoint's answers much and another's not at all, so which of them
may answer is measured and not guessed: `python -m finetune evaluate --dtype bfloat16 --keep` does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from hmdb.errors import ModelError

# Points of top-1 that may be lost: by what is chosen without being asked for, and by what is asked for.
MAX_TOP1_LOSS = {"bfloat16": 0.5, "int8": 1.0}


@dataclass(frozen=True, kw_only=True)
class PrecisionCost:
    """What a precision costs a checkpoint beside float32. It travels in config.json, under the name of the precision.

    Attributes:
        top1_change: in points, on the same clips; negative where the precision is worse.
        clips: how many they were, at least 1.
        part: of the data set.
        same_top1: how many of the clips kept their first answer; None where that was not written down.
        relative_time: of an answer where it was measured, float32 being 1; None likewise. Other CPUs differ.

    Raises:
        ModelError: a value that is no such thing.
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
        """Whether it is small enough for this precision, which is "bfloat16" or "int8", to answer."""
        return self.top1_change >= -MAX_TOP1_LOSS[dtype]

    def to_dict(self) -> dict[str, Any]:
        """What is known, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: object, dtype: str) -> PrecisionCost:
        """
        Args:
            dtype: whose cost it is.

        Raises:
            ModelError: not an object, other settings than those above, or values out of range.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or not {"top1_change", "clips", "part"} <= set(values) <= known:
            raise ModelError(f"What config.json says of {dtype} is not what this version knows: {values}.")
        return cls(**values)


def read_costs(config: Mapping[str, Any]) -> dict[str, PrecisionCost]:
    """What each precision that was measured costs, by its name.

    Args:
        config: the contents of a config.json.

    Raises:
        ModelError: something else stands there.
    """
    return {dtype: PrecisionCost.from_dict(config[dtype], dtype) for dtype in MAX_TOP1_LOSS if dtype in config}
