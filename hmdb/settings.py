"""Settings that the environment can change."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any, ClassVar, Self

from hmdb.errors import DataError


class FromEnvironment:
    """A dataclass of numbers and words, each of which an environment variable can set."""

    prefix: ClassVar[str]

    @classmethod
    def from_environment(cls) -> Self:
        """The defaults, with what the environment sets: prefix + NAME sets `name`.

        Raises:
            DataError: a number that is none, or not positive.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):  # type: ignore[arg-type]
            name = cls.prefix + field.name.upper()
            text = os.environ.get(name)
            if text is None:
                continue
            kind: Any = type(field.default)
            try:
                values[field.name] = kind(text)
            except ValueError as error:
                raise DataError(f"{name} must be a positive number, not {text!r}.") from error
            if kind is not str and not 0 < values[field.name] < float("inf"):
                raise DataError(f"{name} must be a positive number, not {text!r}.")
        return cls(**values)
