"""Dataclass fields that are also options of the command line: default, help, choices and range are declared once."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, field, fields
from typing import Any, TypeVar

from hmdb.errors import DataError

T = TypeVar("T")


def option(
    default: T,
    meaning: str,
    *,
    choices: Sequence[str] = (),
    old_values: Mapping[str, str] | None = None,
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    flag: str = "",
    aliases: Sequence[str] = (),
    metavar: str = "",
    required: bool = False,
) -> T:
    """Declares a field of a dataclass that is also an option.

    Args:
        meaning: the help text; the default is appended.
        choices: the allowed values of a text.
        old_values: other spelling -> choice; read everywhere, listed nowhere.
        least, above, below, most: bounds of a number.
        flag: with its dashes; made from the field's name if empty. The field's name is accepted, too.
        aliases: further flags; the help lists neither.
        required: the command line must have it.
    """
    metadata = {
        "help": meaning,
        "choices": tuple(choices),
        "old_values": old_values or {},
        "range": (least, above, below, most),
        "flag": flag,
        "aliases": tuple(aliases),
        "metavar": metavar or None,
        "required": required,
    }
    declared: T = field(default=default, metadata=metadata)
    return declared


def check_options(settings: Any) -> None:
    """Replaces old spellings, and refuses values outside their choices and ranges.

    Raises:
        DataError: names the option and its allowed values.
    """
    for entry in _options(settings):
        name, value = _flag(entry).removeprefix("--").replace("-", "_"), getattr(settings, entry.name)
        if value in entry.metadata["old_values"]:
            value = entry.metadata["old_values"][value]
            object.__setattr__(settings, entry.name, value)
        choices = entry.metadata["choices"]
        if choices and value not in choices:
            raise DataError(f"There is no {name} {value}; known are {', '.join(choices)}.")
        if isinstance(value, int | float):
            least, above, below, most = entry.metadata["range"]
            bounds = [
                f"{words} {bound:g}"
                for words, bound in (("at least", least), ("above", above), ("below", below), ("at most", most))
                if math.isfinite(bound)
            ]
            if not (math.isfinite(value) and least <= value <= most and above < value < below):
                raise DataError(f"{name} must be {' and '.join(bounds) or 'a finite number'}, not {value}.")


def add_options(parser: argparse._ActionsContainer, settings: type[Any], without: Collection[str] = ()) -> None:
    """Adds an option for each field of `settings`; the parsed result has only those that were given."""
    for entry in _options(settings):
        if entry.name in without:
            continue
        usual = "" if entry.default in ("", False) or entry.metadata["required"] else f" ({entry.default})"
        words: dict[str, Any] = {"dest": entry.name, "default": argparse.SUPPRESS}
        words |= {"required": True} if entry.metadata["required"] else {}
        flags = tuple(dict.fromkeys((_flag(entry), _dashed(entry.name), *entry.metadata["aliases"])))
        if isinstance(entry.default, bool):
            words["action"] = "store_true"
            # Overrides a recipe or a config file that sets it.
            opposites = [flag.replace("--", "--no-", 1) for flag in flags if not flag.startswith("--no-")]
            for opposite in opposites:
                parser.add_argument(opposite, help=argparse.SUPPRESS, **words | {"action": "store_false"})
        else:
            old_values = entry.metadata["old_values"]
            words["type"] = (lambda word, old=old_values: old.get(word, word)) if old_values else type(entry.default)
            words["choices"] = entry.metadata["choices"] or None
            words["metavar"] = entry.metadata["metavar"] or (None if words["choices"] else _placeholder(entry.default))
        parser.add_argument(flags[0], help=entry.metadata["help"].replace("%", "%%") + usual, **words)
        for alias in flags[1:]:
            parser.add_argument(alias, help=argparse.SUPPRESS, **words)


def given(options: argparse.Namespace, settings: type[Any]) -> dict[str, Any]:
    """The settings that the command line or the config file gives."""
    return {entry.name: getattr(options, entry.name) for entry in fields(settings) if hasattr(options, entry.name)}


def flags(*settings: type[Any]) -> dict[str, str]:
    """Field name -> its flag, as `--learning-rate`."""
    return {entry.name: _flag(entry) for declared in settings for entry in _options(declared)}


def whole_number(least: int) -> Callable[[str], int]:
    """Returns a type of argparse: an integer of at least `least`."""

    def parse(word: str) -> int:
        value = int(word)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {word}")
        return value

    parse.__name__ = "whole number"
    return parse


def _options(settings: Any) -> list[Field[Any]]:
    return [entry for entry in fields(settings) if "help" in entry.metadata]


def _flag(entry: Field[Any]) -> str:
    return str(entry.metadata["flag"] or _dashed(entry.name))


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _placeholder(default: Any) -> str:
    return {int: "N", float: "X"}.get(type(default), "NAME")
