"""Reads the options of a command from a YAML file; the command line overrides them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml

from hmdb.errors import DataError
from hmdb.text import first_line


class _StrictParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DataError(f"{message}.")


def read_config(path: Path, add_arguments: Callable[[argparse.ArgumentParser], None]) -> dict[str, Any]:
    """Reads the options in a file, each under its `dest` in the parser.

    The keys are the options of the command line without their dashes; `learning_rate` is `--learning-rate`. A value is
    a text, a number, true or false, or a list, as the option takes it.

    Args:
        add_arguments: adds the options of the command to a parser.

    Raises:
        DataError: the file cannot be read, or has a key or a value that the command does not take.
    """
    parser = _StrictParser(add_help=False, allow_abbrev=False)
    add_arguments(parser)
    for action in parser._actions:
        action.required = False
    actions = {_key(flag): action for action in parser._actions for flag in action.option_strings}
    settings: dict[str, Any] = {}
    for key, value in _read(path).items():
        if _key(str(key)) not in actions:
            raise DataError(f"{path} has the key {key}, which is no setting; {_near(str(key), parser)}.")
        action = actions[_key(str(key))]
        try:
            parsed = parser.parse_args(_words(action, value, actions))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        if hasattr(parsed, action.dest):
            settings[action.dest] = getattr(parsed, action.dest)
    return settings


def _read(path: Path) -> dict[Any, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"The settings {path} cannot be read: {error.strerror}.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path} is not YAML: {first_line(error)}.") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} needs a line `setting: value` for each setting.")
    return values


def _words(action: argparse.Action, value: Any, actions: Mapping[str, argparse.Action]) -> list[str]:
    """The words to type for a value."""
    flag = next(flag for flag in action.option_strings if flag.startswith("--"))
    values = value if isinstance(value, list) else [value]
    if not values or any(item is None or isinstance(item, dict | list) for item in values):
        raise DataError(f"{_key(flag)} needs a value, or a list of values.")
    if isinstance(value, bool) and action.nargs in (0, "?"):
        opposite = f"--no-{flag.removeprefix('--')}"
        return [flag] if value else [opposite] if _key(opposite) in actions else []
    if action.nargs == 0:
        raise DataError(f"{_key(flag)} is true or false, not {value}.")
    if len(values) == 1:
        return [f"{flag}={values[0]}"]  # it may begin with a dash
    return [flag, *map(str, values)]


def _near(key: str, parser: argparse.ArgumentParser) -> str:
    options = [action for action in parser._actions if action.option_strings and action.help != argparse.SUPPRESS]
    known = [_key(action.option_strings[0]) for action in options]
    near = get_close_matches(_key(key), known, n=3)
    return f"near it: {', '.join(near)}" if near else f"there are {', '.join(sorted(known))}"


def _key(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
