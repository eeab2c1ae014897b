"""Settings read from environment variables."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from hmdb.errors import DataError

BOOLEANS = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}


class FromEnvironment:
    """Base of dataclasses of numbers, strings, choices and booleans, each set by an environment variable.

    Numbers must be positive, or at least 0 if the type is annotated with "may be 0".
    """

    prefix: ClassVar[str]
    former_names: ClassVar[Mapping[str, str]] = {}  # of fields that were renamed; their old variables still work

    @classmethod
    def from_environment(cls) -> Self:
        """The defaults, overridden by the variables that are set: prefix + NAME sets `name`.

        Raises:
            DataError: a variable has a value that is not allowed, or a field is set under both its names.
        """
        kinds = get_type_hints(cls, include_extras=True)
        values: dict[str, Any] = {}
        for field in fields(cls):  # type: ignore[arg-type]
            names = [cls.prefix + name.upper() for name in (field.name, cls.former_names.get(field.name)) if name]
            given = [name for name in names if name in os.environ]
            if len(given) > 1:
                raise DataError(f"{' and '.join(given)} are one setting. Set only {given[0]}.")
            for name in given:
                values[field.name] = _value(name, os.environ[name].strip(), kinds[field.name])
        return cls(**values)


def _value(name: str, text: str, kind: Any) -> Any:
    may_be_zero = get_origin(kind) is Annotated
    if may_be_zero:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return _one_of(name, text, {each: each for each in get_args(kind)})
    if kind is bool:
        return _one_of(name, text.lower(), BOOLEANS)
    if kind is str:
        return text
    noun = "whole number" if kind is int else "number"
    wanted = f"a {noun} of at least 0" if may_be_zero else f"a positive {noun}"
    try:
        number = kind(text)
    except ValueError as error:
        raise DataError(f"{name} must be {wanted}, not {text!r}.") from error
    if not (0 < number < math.inf or (may_be_zero and number == 0)):
        raise DataError(f"{name} must be {wanted}, not {text!r}.")
    return number


def _one_of(name: str, text: str, values: dict[str, Any]) -> Any:
    if text not in values:
        raise DataError(f"{name} must be one of {', '.join(values)}, not {text!r}.")
    return values[text]
