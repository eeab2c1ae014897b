"""Fields of a dataclass as options of the command line: a setting's default, words and choices stand in one place."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import Field, field, fields
from typing import Any, TypeVar

from hmdb.errors import DataError

T = TypeVar("T")
_HELP, _CHOICES, _FLAGS, _METAVAR, _RANGE = "help", "choices", "flags", "metavar", "range"


def option(
    default: T,
    meaning: str,
    *,
    choices: Sequence[str] = (),
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    flag: str = "",
    old: Sequence[str] = (),
    metavar: str = "",
) -> T:
    """A field of a dataclass that is also an option.

    Args:
        meaning: for the help; the default is added.
        choices: the values there are, where they are few.
        least, above, below, most: bounds of the values that a number may have.
        flag: with its dashes; made from the field's name, if not given.
        old: flags by which the option was once known; they still work, and no help tells of them.
    """
    metadata = {
        _HELP: meaning,
        _CHOICES: tuple(choices),
        _FLAGS: (flag, *old),
        _METAVAR: metavar,
        _RANGE: (least, above, below, most),
    }
    found: T = field(default=default, metadata=metadata)
    return found


def check_options(settings: Any) -> None:
    """Refuses values outside their choices and ranges, and numbers that are not finite.

    Raises:
        DataError: names the setting and what it may be.
    """
    for each in fields(settings):
        if _HELP not in each.metadata:
            continue
        name, value = each.name, getattr(settings, each.name)
        choices = each.metadata[_CHOICES]
        if choices and value not in choices:
            raise DataError(f"There is no {name} {value}; known are {', '.join(choices)}.")
        if isinstance(value, int | float):
            least, above, below, most = each.metadata[_RANGE]
            words = [
                f"{told} {bound:g}"
                for told, bound in (("at least", least), ("above", above), ("below", below), ("at most", most))
                if math.isfinite(bound)
            ]
            if not (math.isfinite(value) and least <= value <= most and above < value < below):
                raise DataError(f"{name} must be {' and '.join(words) or 'a finite number'}, not {value}.")


def add_options(parser: argparse._ActionsContainer, settings: type[Any], without: Collection[str] = ()) -> None:
    """Adds an option for each field of `settings`; what is not given on the command line is left out of the result."""
    for each in fields(settings):
        if _HELP in each.metadata and each.name not in without:
            _add(parser, each)


def _add(parser: argparse._ActionsContainer, each: Field[Any]) -> None:
    flag, *old = each.metadata[_FLAGS]
    words: dict[str, Any] = {"dest": each.name, "default": argparse.SUPPRESS}
    if isinstance(each.default, bool):
        words["action"] = argparse.BooleanOptionalAction
    else:
        words |= {"type": type(each.default), "choices": each.metadata[_CHOICES] or None}
        words["metavar"] = each.metadata[_METAVAR] or None
    shown = each.metadata[_HELP].replace("%", "%%")
    told = "" if each.default in ("", False) else f" ({each.default})"
    parser.add_argument(flag or f"--{each.name.replace('_', '-')}", help=shown + told, **words)
    for name in old:
        parser.add_argument(name, help=argparse.SUPPRESS, **words)


def whole_number(least: int) -> Callable[[str], int]:
    """A type of argparse: a whole number from `least` on."""

    def parse(word: str) -> int:
        value = int(word)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {word}")
        return value

    parse.__name__ = "whole number"
    return parse


def given(chosen: argparse.Namespace, settings: type[Any]) -> dict[str, Any]:
    """The settings that were given on the command line."""
    return {each.name: getattr(chosen, each.name) for each in fields(settings) if hasattr(chosen, each.name)}
