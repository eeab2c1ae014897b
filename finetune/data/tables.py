"""Reads tables of clips: csv and JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hmdb.errors import DataError
from hmdb.text import first_line


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Reads the rows of a csv that must have a value in each of `columns`.

    Raises:
        DataError: it is no csv, it is empty, or a value is missing.
    """
    rows = read_csv(path)
    require_columns(path, rows, *columns)
    return rows


def read_csv(path: Path) -> list[dict[str, str]]:
    """Reads the rows of a csv in UTF-8.

    Raises:
        DataError: it is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not a csv in UTF-8: {error.reason} at byte {error.start}. Save it as UTF-8."
        ) from error
    if "\0" in text:
        raise DataError(f"{path} is not a csv: it has zero bytes.")
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), restkey="", restval=""))
    except csv.Error as error:  # such as an unclosed quote
        raise DataError(f"{path} is not a csv: {error}.") from error
    if rows and len(columns := [*filter(None, rows[0])]) == 1:  # some spreadsheets separate columns by semicolons
        raise DataError(f"{path} has one column, {columns[0]}. Separate columns by commas.")
    return rows


def read_json_lines(path: Path) -> list[dict[str, str]]:
    """Reads JSON objects, one a line, with their values as text; null is empty.

    Raises:
        DataError: it has something else.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} is not json, an object a line: {first_line(error)}.") from error


def require_columns(path: Path, rows: Sequence[Mapping[str, str]], *columns: str) -> None:
    """
    Raises:
        DataError: there are no rows, or one has no value in one of the columns.
    """
    if not rows:
        raise DataError(f"{path} names no clips.")
    if not set(columns) <= set(rows[0]):
        raise DataError(f"{path} needs the columns {', '.join(columns)}; it has {', '.join(filter(None, rows[0]))}.")
    for number, row in enumerate(rows, 1):
        for column in columns:
            if not row.get(column, "").strip():
                raise DataError(f"{path}: the row of clip {number} has no {column}. Fill it in, or take the row out.")


def refuse_duplicates(path: Path, names: Iterable[str]) -> None:
    """
    Raises:
        DataError: a name occurs more than once.
    """
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise DataError(f"{path.name} names clips more than once: {', '.join(duplicates[:3])} ...")
