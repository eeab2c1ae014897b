"""Reads and writes report.json."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from finetune.report.schema import Report
from finetune.run_dir import REPORT_FILE
from hmdb.errors import DataError

_ADAPTER = TypeAdapter(Report)


def write(report: Report, folder: Path) -> None:
    """Writes report.json into a folder."""
    (folder / REPORT_FILE).write_bytes(_ADAPTER.dump_json(report, indent=2) + b"\n")


def read(folder: Path) -> Report | None:
    """Reads the report of a folder; None if it has none.

    Raises:
        DataError: report.json is damaged, or of another version.
    """
    path = folder / REPORT_FILE
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise DataError(f"{path} is not a report that this version reads: {reason}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
