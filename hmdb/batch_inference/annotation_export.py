"""The answers as what annotation tools import: Label Studio's predictions, FiftyOne's temporal detections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5
from xml.sax.saxutils import quoteattr

import pyarrow as pa
from fsspec.core import url_to_fs
from pyarrow import parquet

from hmdb.batch_inference.parquet_store import ANSWERS, SEGMENTS
from hmdb.batch_inference.urls import is_url
from hmdb.errors import DataError
from hmdb.text import first_line, one_line

Row = dict[str, Any]

# the labelling interface, in the settings of a Label Studio project
CONFIG = """<View>
  <TimelineLabels name="actions" toName="video">
{labels}
  </TimelineLabels>
  <Video name="video" value="$video"/>
  <Choices name="action" toName="video">
{choices}
  </Choices>
</View>
"""


def export(output: str, form: str, target: Path, say: Callable[[str], None] = lambda _: None) -> int:
    """Writes the answers of a job, without the videos that failed, into a folder.

    Args:
        output: the folder or URL that `batch` wrote.
        form: of FORMS.
        target: is made; files in it are replaced.
        say: called with what a user should know, a line each.

    Returns:
        How many videos it holds.

    Raises:
        DataError: there are no answers that the tool can show, or the folder cannot be written.
    """
    answers = list(_answers(output))
    if not answers:
        raise DataError(f"{one_line(output)} holds no answers.")
    tool = EXPORT_FORMATS[form]
    rows = [row for row in answers if tool.opens_urls or not is_url(row["path"])]
    if not rows:
        raise DataError(f"{tool.name} opens files alone, and all videos of {one_line(output)} are behind URLs.")
    if behind := len(answers) - len(rows):
        say(f"Videos behind URLs are left out, {behind} of {len(answers)}: {tool.name} opens files alone.")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, text in tool.files(rows).items():
            (target / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{one_line(str(target))} cannot be written: {error.strerror}.") from error
    return len(rows)


def _answers(output: str) -> Iterator[Row]:
    """The rows that did not fail, each with its segments; one of its whole length where there is no timeline."""
    segments: dict[str, list[Row]] = {}
    for row in _table(output, SEGMENTS, missing_ok=True):
        segments.setdefault(row.pop("path"), []).append(row)
    for row in _table(output, ANSWERS):
        if row["error_class"] is None:
            whole = {"start_frame": 0, "end_frame": row["num_frames"], "probability": row["probability"]}
            label = row["label"] if row["is_known"] else None
            yield row | {"segments": segments.get(row["path"], [whole | {"label": label}])}


def _table(output: str, name: str, *, missing_ok: bool = False) -> list[Row]:
    try:
        files, root = url_to_fs(f"{output.rstrip('/')}/{name}")
        if missing_ok and not files.exists(root):
            return []
        parts = [parquet.read_table(files.open(part, "rb")) for part in sorted(files.glob(f"{root}/*.parquet"))]
        rows: list[Row] = pa.concat_tables(parts).to_pylist() if parts else []
        return rows
    except Exception as error:  # each file system has its own ways to fail
        raise DataError(f"{one_line(output)} cannot be read: {one_line(first_line(error))}") from error


def label_studio(rows: list[Row]) -> dict[str, str]:
    """tasks.json, to import, and config.xml, the labelling interface that it belongs to."""
    labels = sorted({label for row in rows for label in (row["label"], *_labels(row))})
    config = CONFIG.format(
        labels="\n".join(f"    <Label value={quoteattr(label)}/>" for label in labels),
        choices="\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels),
    )
    return {"tasks.json": json.dumps([_task(row) for row in rows], indent=1) + "\n", "config.xml": config}


def _task(row: Row) -> Row:
    revision = f"@{row['revision']}" if row["revision"] else ""
    choice = {
        "id": "action",
        "from_name": "action",
        "to_name": "video",
        "type": "choices",
        "score": row["probability"],
        "value": {"choices": [row["label"]]},
    }
    ranges = [
        {
            "id": f"segment{number}",
            "from_name": "actions",
            "to_name": "video",
            "type": "timelinelabels",
            "score": segment["probability"],
            "value": {
                # frames from 1, the last included
                "ranges": [{"start": segment["start_frame"] + 1, "end": segment["end_frame"]}],
                "timelinelabels": [segment["label"]],
            },
        }
        for number, segment in enumerate(row["segments"])
        if segment["label"] is not None
    ]
    prediction = {
        "model_version": f"{row['model']}{revision}",
        "score": row["probability"],
        "result": [choice, *ranges],
    }
    return {"data": {"video": row["path"]}, "predictions": [prediction]}


def fiftyone(rows: list[Row]) -> dict[str, str]:
    """data.json and labels.json of a FiftyOneTemporalDetectionDataset."""
    names = {row["path"]: str(uuid5(NAMESPACE_URL, row["path"])) for row in rows}
    detections = {
        names[row["path"]]: [
            {
                "label": segment["label"],
                "confidence": segment["probability"],
                "support": [segment["start_frame"] + 1, segment["end_frame"]],  # frames from 1, the last included
            }
            for segment in row["segments"]
            if segment["label"] is not None
        ]
        for row in rows
    }
    classes = sorted({label for row in rows for label in _labels(row)})
    return {
        "data.json": json.dumps({name: path for path, name in names.items()}, indent=1) + "\n",
        "labels.json": json.dumps({"classes": classes, "labels": detections}, indent=1) + "\n",
    }


def _labels(row: Row) -> list[str]:
    return [segment["label"] for segment in row["segments"] if segment["label"] is not None]


class ExportFormat(NamedTuple):
    """What a tool imports: its name, its files and their text, and whether it opens videos behind URLs."""

    name: str
    files: Callable[[list[Row]], dict[str, str]]
    opens_urls: bool


EXPORT_FORMATS = {
    "fiftyone": ExportFormat("FiftyOne", fiftyone, opens_urls=False),  # it takes a URL for a path beside data.json
    "label-studio": ExportFormat("Label Studio", label_studio, opens_urls=True),
}
