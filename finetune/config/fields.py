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
        flag: with its dashes; made from the field's name if empty.
        aliases: further flags, which the help does not list.
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
    for each in _options(settings):
        name, value = _flag(each).removeprefix("--").replace("-", "_"), getattr(settings, each.name)
        if value in each.metadata["old_values"]:
            value = each.metadata["old_values"][value]
            object.__setattr__(settings, each.name, value)
        choices = each.metadata["choices"]
        if choices and value not in choices:
            raise DataError(f"There is no {name} {value}; known are {', '.join(choices)}.")
        if isinstance(value, int | float):
            least, above, below, most = each.metadata["range"]
            bounds = [
                f"{words} {bound:g}"
                for words, bound in (("at least", least), ("above", above), ("below", below), ("at most", most))
                if math.isfinite(bound)
            ]
            if not (math.isfinite(value) and least <= value <= most and above < value < below):
                raise DataError(f"{name} must be {' and '.join(bounds) or 'a finite number'}, not {value}.")


def add_options(parser: argparse._ActionsContainer, settings: type[Any], without: Collection[str] = ()) -> None:
    """Adds an option for each field of `settings`; the parsed result has only those that were given."""
    for each in _options(settings):
        if each.name in without:
            continue
        usual = "" if each.default in ("", False) or each.metadata["required"] else f" ({each.default})"
        words: dict[str, Any] = {"dest": each.name, "default": argparse.SUPPRESS}
        words |= {"required": True} if each.metadata["required"] else {}
        flags = (_flag(each), *each.metadata["aliases"])
        if isinstance(each.default, bool):
            words["action"] = "store_true"
            # Overrides a recipe or a config file that sets it.
            opposites = [flag.replace("--", "--no-", 1) for flag in flags if not flag.startswith("--no-")]
            for opposite in opposites:
                parser.add_argument(opposite, help=argparse.SUPPRESS, **words | {"action": "store_false"})
        else:
            old_values = each.metadata["old_values"]
            words["type"] = (lambda word, old=old_values: old.get(word, word)) if old_values else type(each.default)
            words |= {"choices": each.metadata["choices"] or None, "metavar": each.metadata["metavar"]}
        parser.add_argument(flags[0], help=each.metadata["help"].replace("%", "%%") + usual, **words)
        for alias in flags[1:]:
            parser.add_argument(alias, help=argparse.SUPPRESS, **words)


def given(options: argparse.Namespace, settings: type[Any]) -> dict[str, Any]:
    """The settings that the command line or the config file gives."""
    return {each.name: getattr(options, each.name) for each in fields(settings) if hasattr(options, each.name)}


def flags(*settings: type[Any]) -> dict[str, str]:
    """Field name -> its flag, as `--learning-rate`."""
    return {each.name: _flag(each) for declared in settings for each in _options(declared)}


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
    return [each for each in fields(settings) if "help" in each.metadata]


def _flag(each: Field[Any]) -> str:
    return str(each.metadata["flag"] or f"--{each.name.replace('_', '-')}")
