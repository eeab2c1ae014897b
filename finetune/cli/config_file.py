"""A YAML file -> the options of a job, which the command line may override."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml

from hmdb.errors import DataError
from hmdb.text import first_line


class _Strict(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DataError(f"{message}.")


def settings_of(path: Path, add_options: Callable[[argparse.ArgumentParser], None]) -> dict[str, Any]:
    """The settings in a file, each under the name that the parser keeps it by.

    The keys are the options of the command line without their dashes; `learning_rate` is `--learning-rate`. A value is
    what the option takes: a word, a number, true or false, or a list.

    Args:
        add_options: adds the options of the job to a parser.

    Raises:
        DataError: the file cannot be read, or has a key or a value that the job does not take.
    """
    parser = _Strict(add_help=False, allow_abbrev=False)
    add_options(parser)
    for each in parser._actions:
        each.required = False
    actions = {_key(flag): each for each in parser._actions for flag in each.option_strings}
    found: dict[str, Any] = {}
    for key, value in _read(path).items():
        action = actions.get(_key(str(key)))
        if action is None:
            raise DataError(f"{path} has the key {key}, which is no setting; {_near(str(key), parser)}.")
        try:
            parsed = parser.parse_args(_words(action, value))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        if hasattr(parsed, action.dest):
            found[action.dest] = getattr(parsed, action.dest)
    return found


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


def _words(action: argparse.Action, value: Any) -> list[str]:
    """What one would type."""
    flag = next(flag for flag in action.option_strings if flag.startswith("--"))
    values = value if isinstance(value, list) else [value]
    if not values or any(each is None or isinstance(each, dict | list) for each in values):
        raise DataError(f"{_key(flag)} needs a value, or a list of values.")
    if isinstance(value, bool) and (action.nargs in (0, "?")):
        opposite = f"--no-{flag.removeprefix('--')}"
        return [flag] if value else [opposite] if opposite in action.option_strings else []
    if action.nargs == 0:
        raise DataError(f"{_key(flag)} is true or false, not {value}.")
    if len(values) == 1:
        return [f"{flag}={values[0]}"]  # it may begin with a dash
    return [flag, *map(str, values)]


def _near(key: str, parser: argparse.ArgumentParser) -> str:
    known = [_key(each.option_strings[0]) for each in parser._actions if each.help != argparse.SUPPRESS]
    near = get_close_matches(_key(key), known, n=3)
    return f"near it: {', '.join(near)}" if near else f"there are {', '.join(sorted(known))}"


def _key(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
